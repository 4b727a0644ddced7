//! The machine: what it is made of, what it does, and how its system is set.
//!
//! **Invariants.** What can't be read is left out. Sizes are bytes, shares are percent, rates are by the second.
//!
//! **Not here.** The process itself: its metrics say that. Systems other than Linux.

use super::proc::{self, CPU_STATES, Figures};
use std::fs;
use std::time::{Duration, Instant};

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Topic {
    /// What it is made of.
    Hardware,
    /// What it does, over a second.
    Load,
    /// How its system is set.
    System,
}

impl Topic {
    /// All of them.
    pub(crate) const ALL: [Topic; 3] = [Topic::Hardware, Topic::Load, Topic::System];

    /// Its name in a route.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Topic::Hardware => "hardware",
            Topic::Load => "load",
            Topic::System => "system",
        }
    }
}

/// What is known of one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    /// What kind of thing: cpu, memory, disk, net, io, system.
    pub(crate) kind: &'static str,
    /// Which.
    pub(crate) name: String,
    /// What.
    pub(crate) pairs: Vec<(String, String)>,
}

/// Between the two looks at what only grows.
const BETWEEN: Duration = Duration::from_secs(1);

/// Settings of the system that matter to a store.
const SETTINGS: &[&str] = &[
    "kernel.osrelease",
    "kernel.hostname",
    "fs.file-max",
    "net.core.somaxconn",
    "net.ipv4.tcp_syncookies",
    "vm.dirty_ratio",
    "vm.max_map_count",
    "vm.overcommit_memory",
    "vm.swappiness",
];

/// Looks. Takes a second for the load.
pub(super) fn look(topic: Topic) -> Vec<Item> {
    match topic {
        Topic::Hardware => hardware(),
        Topic::Load => load(),
        Topic::System => vec![system()],
    }
}

fn item<const N: usize>(
    kind: &'static str,
    name: impl Into<String>,
    pairs: [(&str, String); N],
) -> Item {
    let pairs = pairs.into_iter().filter(|(_, value)| !value.is_empty());
    Item {
        kind,
        name: name.into(),
        pairs: pairs.map(|(key, value)| (key.to_owned(), value)).collect(),
    }
}

/// The file's text; nothing if it can't be read.
fn read(path: &str) -> String {
    fs::read_to_string(path)
        .unwrap_or_default()
        .trim_end()
        .to_owned()
}

fn percent(part: u64, whole: u64) -> String {
    let share = if whole == 0 {
        0.0
    } else {
        part as f64 * 100.0 / whole as f64
    };
    format!("{share:.1}")
}

fn hardware() -> Vec<Item> {
    let cpus = proc::cpuinfo(&read("/proc/cpuinfo"));
    let memory = proc::memory(&read("/proc/meminfo"));
    let capacity = memory.get("MemTotal").copied().unwrap_or_default();
    let mut items = vec![
        item(
            "cpu",
            "cpu",
            [
                ("cpu-logical-cores", cpus.logical.to_string()),
                ("cpu-physical-cores", cpus.physical.to_string()),
                ("cpu-vendor-id", cpus.vendor),
                ("cpu-model", cpus.model),
                ("cpu-frequency", cpus.mhz),
            ],
        ),
        item("memory", "memory", [("capacity", capacity.to_string())]),
    ];
    let mounts = proc::mounts(&read("/proc/mounts"));
    items.extend(mounts.into_iter().filter_map(disk));
    let nets = proc::nets(&read("/proc/net/dev"));
    items.extend(nets.into_keys().map(|name| {
        let of = |what: &str| read(&format!("/sys/class/net/{name}/{what}"));
        let pairs = [
            ("mac", of("address")),
            ("mtu", of("mtu")),
            ("speed-mbit", of("speed")),
        ];
        item("net", name, pairs)
    }));
    items
}

/// None if it is none: its size is zero.
fn disk((device, path, kind): (String, String, String)) -> Option<Item> {
    let total = fs2::total_space(&path).ok().filter(|total| *total > 0)?;
    let free = fs2::available_space(&path).ok()?;
    let used = total.saturating_sub(free);
    let pairs = [
        ("path", path),
        ("fstype", kind),
        ("total", total.to_string()),
        ("free", free.to_string()),
        ("used", used.to_string()),
        ("used-percent", percent(used, total)),
    ];
    let name = device.strip_prefix("/dev/").unwrap_or(&device);
    Some(item("disk", name, pairs))
}

/// Everything that only grows, at a moment.
struct Sample {
    at: Instant,
    cpus: Figures,
    nets: Figures,
    disks: Figures,
}

impl Sample {
    fn take() -> Self {
        Self {
            at: Instant::now(),
            cpus: proc::cpus(&read("/proc/stat")),
            nets: proc::nets(&read("/proc/net/dev")),
            disks: proc::disks(&read("/proc/diskstats")),
        }
    }
}

fn load() -> Vec<Item> {
    let before = Sample::take();
    std::thread::sleep(BETWEEN);
    let after = Sample::take();
    let seconds = (after.at - before.at).as_secs_f64();
    let rate = |grown: u64| format!("{:.0}", grown as f64 / seconds);
    let mut items = vec![averages()];
    for (name, ticks) in proc::difference(&before.cpus, &after.cpus) {
        let all = ticks.iter().sum();
        let shares = ticks.iter().map(|ticks| percent(*ticks, all));
        let name = if name == "cpu" {
            "usage".to_owned()
        } else {
            name
        };
        items.push(Item {
            kind: "cpu",
            name,
            pairs: CPU_STATES
                .iter()
                .map(|&state| state.to_owned())
                .zip(shares)
                .collect(),
        });
    }
    items.extend(memory());
    for (name, grown) in proc::difference(&before.nets, &after.nets) {
        let [received, receive_errors, sent, send_errors] = grown[..] else {
            continue;
        };
        let pairs = [
            ("rx-bytes/s", rate(received)),
            ("rx-errors/s", rate(receive_errors)),
            ("tx-bytes/s", rate(sent)),
            ("tx-errors/s", rate(send_errors)),
        ];
        items.push(item("net", name, pairs));
    }
    for (name, grown) in proc::difference(&before.disks, &after.disks) {
        let [reads, read_bytes, writes, written_bytes, busy_ms] = grown[..] else {
            continue;
        };
        let pairs = [
            ("reads/s", rate(reads)),
            ("read-bytes/s", rate(read_bytes)),
            ("writes/s", rate(writes)),
            ("written-bytes/s", rate(written_bytes)),
            (
                "busy-percent",
                format!("{:.1}", busy_ms as f64 / 10.0 / seconds),
            ),
        ];
        items.push(item("io", name, pairs));
    }
    items
}

fn averages() -> Item {
    let text = read("/proc/loadavg");
    let mut numbers = text.split(' ').map(str::to_owned);
    let mut next = || numbers.next().unwrap_or_default();
    item(
        "cpu",
        "load",
        [("load1", next()), ("load5", next()), ("load15", next())],
    )
}

fn memory() -> [Item; 2] {
    let memory = proc::memory(&read("/proc/meminfo"));
    let of = |name: &str| memory.get(name).copied().unwrap_or_default();
    [
        ("virtual", "MemTotal", "MemAvailable"),
        ("swap", "SwapTotal", "SwapFree"),
    ]
    .map(|(name, total, free)| {
        let (total, free) = (of(total), of(free));
        let used = total.saturating_sub(free);
        let pairs = [
            ("total", total.to_string()),
            ("free", free.to_string()),
            ("used", used.to_string()),
            ("used-percent", percent(used, total)),
        ];
        item("memory", name, pairs)
    })
}

fn system() -> Item {
    let settings = SETTINGS.iter().filter_map(|&name| {
        let value = read(&format!("/proc/sys/{}", name.replace('.', "/")));
        (!value.is_empty()).then(|| (name.to_owned(), value))
    });
    let mut pairs: Vec<(String, String)> = settings.collect();
    let pages = read("/sys/kernel/mm/transparent_hugepage/enabled");
    pairs.push(("transparent-hugepage".to_owned(), pages));
    pairs.push((
        "uptime-s".to_owned(),
        read("/proc/uptime")
            .split('.')
            .next()
            .unwrap_or_default()
            .to_owned(),
    ));
    Item {
        kind: "system",
        name: "sysctl".to_owned(),
        pairs,
    }
}
