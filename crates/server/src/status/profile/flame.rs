//! A flame graph: functions as boxes, as wide as what was seen in them and in what they called, callers below.
//!
//! After Brendan Gregg's flame graphs. One file that works by itself in a browser, in light and dark: a click
//! widens a box, one on the lowest takes that back.
//!
//! **Invariants.** Names are escaped. Boxes too narrow to see are left out.
//!
//! **Not here.** What was seen (`stacks`).

use super::stacks::Stacks;
use std::collections::BTreeMap;
use std::fmt::Write;

/// In pixels.
const WIDTH: f64 = 1_200.0;
const ROW: f64 = 18.0;
const MARGIN: f64 = 34.0;
/// A box narrower than this can't be seen.
const NARROWEST: f64 = 0.3;
/// About as wide as a letter.
const LETTER: f64 = 6.9;

const STYLE: &str = "\
svg{background:#fff;font:12px ui-monospace,monospace}text{fill:#111;pointer-events:none}\
g:hover rect{stroke:#111;stroke-width:1}#head{font:600 14px system-ui,sans-serif}\
@media(prefers-color-scheme:dark){svg{background:#15171a}#head{fill:#e8e8e8}\
g:hover rect{stroke:#fff}}";

/// A click makes the box as wide as the picture, with what is above it, and what is below it too.
const SCRIPT: &str = "\
const all=[...document.querySelectorAll('g')];\
const show=(from,width)=>all.forEach(g=>{\
const x=+g.dataset.x,w=+g.dataset.w,left=Math.max(x,from),right=Math.min(x+w,from+width);\
g.style.display=right-left>width*2e-4?'':'none';if(right<=left)return;\
const px=(left-from)/width*1200,pw=(right-left)/width*1200;\
const [r,t]=[g.querySelector('rect'),g.querySelector('text')];\
r.setAttribute('x',px);r.setAttribute('width',Math.max(pw-.5,.3));t.setAttribute('x',px+3);\
const n=g.dataset.n,fit=Math.floor((pw-6)/6.9);\
t.textContent=fit<3?'':n.length<=fit?n:n.slice(0,fit-1)+'\u{2026}';});\
all.forEach(g=>g.addEventListener('click',()=>show(+g.dataset.x,+g.dataset.w)));";

/// A function in what called it.
#[derive(Default)]
struct Node<'a> {
    weight: u64,
    calls: BTreeMap<&'a str, Node<'a>>,
}

impl Node<'_> {
    fn depth(&self) -> usize {
        1 + self.calls.values().map(Node::depth).max().unwrap_or(0)
    }
}

/// The picture, as SVG.
pub(super) fn svg(stacks: &Stacks) -> String {
    let mut root = Node {
        weight: stacks.total(),
        ..Node::default()
    };
    for (functions, weight) in &stacks.stacks {
        let mut node = &mut root;
        for name in functions {
            node = node.calls.entry(name).or_default();
            node.weight += weight;
        }
    }
    let height = MARGIN + root.depth() as f64 * ROW + 6.0;
    let mut picture = Picture {
        text: String::new(),
        total: root.weight,
        bottom: height - ROW - 3.0,
        unit: stacks.kind.1,
    };
    picture.draw("all", &root, (0.0, 0));
    let (kind, total) = (stacks.kind.0, amount(root.weight, stacks.kind.1));
    let script = if root.weight == 0 { "" } else { SCRIPT };
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\"><style>{STYLE}</style>\
         <text id=\"head\" x=\"6\" y=\"21\">{kind}: {total}</text>\n{}\
         <script><![CDATA[{script}]]></script></svg>\n",
        picture.text
    )
}

struct Picture {
    text: String,
    total: u64,
    bottom: f64,
    unit: &'static str,
}

impl Picture {
    /// A box at this place (pixels from the left, rows from below), and what it calls above it.
    fn draw(&mut self, name: &str, node: &Node<'_>, (x, level): (f64, usize)) {
        let share = node.weight as f64 / self.total.max(1) as f64;
        let width = share * WIDTH;
        if width < NARROWEST {
            return;
        }
        let y = self.bottom - level as f64 * ROW;
        let (amount, percent) = (amount(node.weight, self.unit), share * 100.0);
        let (name_shown, label) = (escaped(name), escaped(&fitted(name, width)));
        let _ = writeln!(
            self.text,
            "<g data-x=\"{x:.2}\" data-w=\"{width:.2}\" data-n=\"{name_shown}\">\
             <title>{name_shown}\n{amount}, {percent:.1} %</title>\
             <rect x=\"{x:.2}\" y=\"{y:.0}\" width=\"{:.2}\" height=\"{:.0}\" rx=\"2\" fill=\"{}\"/>\
             <text x=\"{:.2}\" y=\"{:.0}\">{label}</text></g>",
            (width - 0.5).max(NARROWEST),
            ROW - 1.0,
            colour(name),
            x + 3.0,
            y + 13.0,
        );
        let mut left = x;
        for (name, call) in &node.calls {
            self.draw(name, call, (left, level + 1));
            left += call.weight as f64 / self.total.max(1) as f64 * WIDTH;
        }
    }
}

/// As much of a name as fits.
fn fitted(name: &str, width: f64) -> String {
    let letters = ((width - 6.0) / LETTER).max(0.0) as usize;
    if letters < 3 {
        return String::new();
    }
    if name.chars().count() <= letters {
        return name.to_owned();
    }
    let beginning: String = name.chars().take(letters - 1).collect();
    beginning + "\u{2026}"
}

/// The same name has the same colour everywhere: by its crate, in which things belong together.
fn colour(name: &str) -> String {
    let owner = name
        .split("::")
        .next()
        .unwrap_or(name)
        .trim_start_matches('<');
    let hash = |text: &str| {
        text.bytes()
            .fold(7_u32, |hash, byte| hash.wrapping_mul(31) ^ u32::from(byte))
    };
    let (hue, light) = (hash(owner) % 55, 62 + hash(name) % 12);
    format!("hsl({hue} 85% {light}%)")
}

/// A weight for people.
fn amount(weight: u64, unit: &str) -> String {
    match unit {
        "nanoseconds" => format!("{:.2} s", weight as f64 / 1e9),
        "bytes" => format!("{:.2} MiB", weight as f64 / f64::from(1 << 20)),
        other => format!("{weight} {other}"),
    }
}

fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn boxes_are_as_wide_as_what_was_seen_and_names_are_escaped() {
        let stacks = Stacks {
            kind: ("cpu", "nanoseconds"),
            stacks: BTreeMap::from([
                (stack(&["main", "a<b>"]), 750_000_000),
                (stack(&["main", "c"]), 250_000_000),
            ]),
            ..Stacks::default()
        };
        let picture = svg(&stacks);
        assert!(picture.contains("data-x=\"0.00\" data-w=\"900.00\" data-n=\"a&lt;b&gt;\""));
        assert!(picture.contains("data-x=\"900.00\" data-w=\"300.00\" data-n=\"c\""));
        assert!(picture.contains("0.25 s, 25.0 %") && picture.contains("cpu: 1.00 s"));
        assert!(!picture.contains("a<b>"));
        assert_eq!(picture.matches("<g ").count(), 4);
    }

    #[test]
    fn a_profile_of_nothing_is_a_picture_too() {
        let picture = svg(&Stacks::default());
        assert!(picture.starts_with("<svg") && picture.trim_end().ends_with("</svg>"));
    }

    #[test]
    fn what_can_not_be_seen_is_left_out_and_long_names_are_cut() {
        let stacks = Stacks {
            stacks: BTreeMap::from([(stack(&["wide"]), 1_000_000), (stack(&["narrow"]), 1)]),
            ..Stacks::default()
        };
        assert!(!svg(&stacks).contains("narrow"));
        assert_eq!(fitted("abcdefghij", 6.0 + 5.0 * LETTER), "abcd\u{2026}");
        assert_eq!(fitted("abcdefghij", 10.0), "");
    }
}
