//! The console in a browser, on a cluster of real processes under load.
//!
//! Without Chromium there is nothing to test it with, and the test says so. `KONTIKI_SCREENSHOTS` names a folder for
//! pictures of all pages.

use base64::Engine;
use client::Config;
use e2e::{Browser, Cluster, Options, chromium, own_client, pd_get};
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const PAGES: &[&str] = &[
    "overview",
    "stores",
    "regions",
    "hot",
    "operators",
    "actors",
    "logs",
    "config",
];
const SIZE: (u32, u32) = (1_360, 860);
/// Cuts of the first Region; values are spread over them.
const CUTS: &[&str] = &["b", "d", "f", "h", "j", "l", "n", "p", "r", "t", "v"];
/// In a run for pictures lines need a past.
const PAST: Duration = Duration::from_secs(60);

/// Whatever the console shows comes from here.
fn options() -> Options {
    Options {
        status: true,
        log_files: true,
        extra: "raftstore.pd-heartbeat-tick-interval = \"2s\"\n\
                raftstore.pd-store-heartbeat-tick-interval = \"1s\""
            .to_owned(),
        ..Options::default()
    }
}

/// Writes and reads until it is told to stop.
async fn load(client: client::Client, stop: Arc<AtomicBool>) {
    let mut turn: usize = 0;
    while !stop.load(Ordering::Relaxed) {
        let letter = (b'a' + (turn % 24) as u8) as char;
        let key = format!("{letter}{:04}", turn * 31 % 5_000);
        // A refusal in the middle of a move is the client's to try again.
        let _ = client
            .put(key.as_bytes(), vec![letter as u8; 512].into())
            .await;
        let _ = client.get(key.as_bytes()).await;
        turn += 1;
    }
}

struct Console {
    browser: Browser,
    pictures: Option<PathBuf>,
}

impl Console {
    fn go(&mut self, page: &str) {
        self.browser
            .evaluate(&format!("location.hash = '#/{page}'"));
        self.browser.until(&format!(
            "document.getElementById('page')?.dataset.ready === '{page}'"
        ));
    }

    fn click(&mut self, selector: &str) {
        self.browser
            .until(&format!("document.querySelector(`{selector}`) !== null"));
        self.browser
            .evaluate(&format!("document.querySelector(`{selector}`).click()"));
    }

    fn picture(&mut self, name: &str) {
        let Some(folder) = self.pictures.clone() else {
            return;
        };
        let shot = self.browser.screenshot();
        let shot = base64::prelude::BASE64_STANDARD.decode(shot).unwrap();
        std::fs::write(folder.join(format!("{name}.webp")), shot).unwrap();
    }
}

fn leader(cluster: &Cluster, region: u64) -> Option<u64> {
    let told = pd_get(cluster, &format!("/pd/api/v1/region/id/{region}"))?;
    let told: Value = serde_json::from_str(&told).ok()?;
    told["leader"]["store_id"].as_u64()
}

/// What a store's own status server says; the console's word for it would prove nothing.
fn pool_size(status: &str) -> Value {
    let answer = e2e::http_get(status, "/config").unwrap();
    let config: Value = serde_json::from_str(&answer).unwrap();
    config["raftstore"]["store-pool-size"].clone()
}

/// What was wrong on the page. A browser logs every answer that is an error, and on a busy machine placement may
/// be without a leader for a moment: the page says so, and asks again.
fn problems(console: &mut Console) -> Vec<String> {
    let mut problems = console.browser.problems();
    problems.retain(|problem| {
        let is_of_placement = problem.contains("/console/api/pd/")
            || problem.contains("/console/api/map")
            || problem.contains("/console/api/series");
        !(problem.contains("status of 50") && is_of_placement)
    });
    problems
}

#[tokio::test(flavor = "multi_thread")]
async fn the_console_shows_a_live_cluster_moves_a_leader_and_edits_the_configuration() {
    let Some(program) = chromium() else {
        eprintln!(
            "skipped: there is no Chromium (apt-get install chromium, or KONTIKI_CHROMIUM=PATH)"
        );
        return;
    };
    let cluster = Cluster::start(3, options()).unwrap();
    let client = own_client(&cluster, Config::default()).await.unwrap();
    for cut in CUTS {
        cluster.ctl(&["region", "split", cut]).unwrap();
    }
    let stop = Arc::new(AtomicBool::new(false));
    let loads: Vec<_> = (0..8)
        .map(|_| tokio::spawn(load(client.clone(), Arc::clone(&stop))))
        .collect();
    let status = cluster.status_addresses();
    let cluster = Arc::new(cluster);
    let looked = Arc::clone(&cluster);
    let look = move || {
        let mut console = Console {
            browser: Browser::start(&program, SIZE).unwrap(),
            pictures: std::env::var_os("KONTIKI_SCREENSHOTS").map(PathBuf::from),
        };
        // Any node shows all of it: here the last.
        console
            .browser
            .open(&format!("http://{}/console/", status[2]));
        pages(&mut console);
        searches_the_logs(&mut console);
        moves_a_leader(&mut console, &looked);
        assert_eq!(problems(&mut console), [] as [String; 0]);
        edits_an_item(&mut console, &status);
        let mut problems = problems(&mut console);
        // The change that was wrong, refused by each store.
        problems.retain(|problem| {
            !(problem.contains("status of 400") && problem.contains("/config\""))
        });
        assert_eq!(problems, [] as [String; 0]);
    };
    let looked = tokio::task::spawn_blocking(look).await;
    stop.store(true, Ordering::Relaxed);
    for load in loads {
        load.await.unwrap();
    }
    looked.unwrap();
}

/// Every page shows what it is for, in light and dark.
fn pages(console: &mut Console) {
    console
        .browser
        .until("document.getElementById('pulse')?.textContent === 'live'");
    if console.pictures.is_some() {
        std::thread::sleep(PAST);
    }
    for (scheme, suffix) in [("light", ""), ("dark", "-dark")] {
        console.browser.prefer(scheme);
        for page in PAGES {
            console.go(page);
            console.picture(&format!("{page}{suffix}"));
        }
    }
    console.browser.prefer("light");
    let holds =
        |text: &str| format!("document.getElementById('page').innerText.includes(`{text}`)");
    console.go("overview");
    console.browser.until(&holds("every replica is well"));
    console
        .browser
        .until("document.querySelectorAll('.spark path[d^=M]').length >= 8");
    console.go("stores");
    for store in 1..=3 {
        console.browser.until(&format!(
            "[...document.querySelectorAll('td b')].some(one => one.textContent === '{store}')"
        ));
    }
    console.go("actors");
    console.browser.until(&holds("Appliers"));
    console.go("operators");
    console.browser.until(&holds("balance-leader-scheduler"));
}

/// Lines of all stores, until a pattern is asked for.
fn searches_the_logs(console: &mut Console) {
    console.go("logs");
    let stores = "new Set([...document.querySelectorAll('table.log td:nth-child(2)')].map(one => one.textContent)).size";
    let line = "document.querySelector('table.log code')?.textContent";
    console.browser.until(&format!("{stores} === 3"));
    let search = |pattern: &str| {
        format!(
            "document.querySelector('[name=pattern]').value = '{pattern}'; document.querySelector('form.inline button').click()"
        )
    };
    console.browser.evaluate(&search("serving. .name=n2"));
    console.browser.until(&format!(
        "{stores} === 1 && {line}.includes('serving') && {line}.includes('n2')"
    ));
    console.picture("logs-searched");
    console.browser.evaluate(&search("what nobody has logged"));
    console
        .browser
        .until("document.getElementById('page').innerText.includes('No line')");
}

/// The first cell is a Region; its dialog has a button for each store that could lead it.
fn moves_a_leader(console: &mut Console, cluster: &Cluster) {
    console.go("regions");
    console
        .browser
        .until("document.querySelectorAll('.cell').length >= 12");
    console.click(".cell");
    console.click("td button.small");
    console.picture("region");
    let button = console
        .browser
        .until("document.querySelector('dialog [data-move]')?.dataset.move");
    let (region, store) = button.as_str().unwrap().split_once('-').unwrap();
    let (region, store): (u64, u64) = (region.parse().unwrap(), store.parse().unwrap());
    assert_ne!(leader(cluster, region), Some(store));
    // Placement may be doing something else with the Region: then the page says so, and offers it again.
    let button = format!("document.querySelector('dialog [data-move=\"{region}-{store}\"]')");
    console.browser.until(&format!(
        "document.querySelector('.toast')?.textContent.includes('is led by store') \
         || ({button}?.disabled === false && {button}.click(), false)"
    ));
    console.picture("region-moved");
    assert_eq!(leader(cluster, region), Some(store));
    console
        .browser
        .evaluate("document.getElementById('dialog').close()");
}

/// An item is changed on all nodes; one that is wrong is refused where it was typed.
fn edits_an_item(console: &mut Console, status: &[String]) {
    console.go("config");
    let type_in = |value: &str| {
        format!(
            "(() => {{ const field = document.querySelector('form.inline [name=value]'); field.focus(); field.value = '{value}'; return true }})()"
        )
    };
    console.click("[data-edit='raftstore.store-pool-size']");
    console
        .browser
        .until("document.querySelector('form.inline [name=value]') !== null");
    console.browser.evaluate(&type_in("257"));
    console.click("form.inline [value=all]");
    console
        .browser
        .until("document.querySelector('form.inline .wrong') !== null");
    console.picture("config-refused");
    assert!(status.iter().all(|status| pool_size(status) == 0));
    console.browser.evaluate(&type_in("3"));
    console.click("form.inline [value=all]");
    console.browser.until("[...document.querySelectorAll('.toast')].some(one => one.textContent.includes('is 3 now'))");
    assert!(status.iter().all(|status| pool_size(status) == 3));
}
