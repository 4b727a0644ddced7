//! A control FSM that gets messages from the moment its system starts keeps being run.

use batch_system::{
    Batch, Builder, Config, Fsm, Handler, Inbox, Message, RoundInfo, Router, ThreadDriver,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

struct Tick;
impl Message for Tick {}

struct Normal;
struct Control;

impl Fsm for Normal {
    type Message = Tick;
    fn is_stopped(&self) -> bool {
        false
    }
}

impl Fsm for Control {
    type Message = Tick;
    fn is_stopped(&self) -> bool {
        false
    }
}

struct Ticks {
    router: Router<Normal, Control>,
    control: Arc<AtomicU64>,
}

impl Handler<Normal, Control> for Ticks {
    fn begin(&mut self, _round: RoundInfo) {}

    fn handle_control(&mut self, _control: &mut Control, inbox: &mut Inbox<'_, Tick>) {
        while inbox.pop().is_some() {
            self.control.fetch_add(1, Ordering::Relaxed);
            self.router.broadcast(|_| Some(Tick));
        }
    }

    fn handle_normal(&mut self, _fsm: &mut Normal, inbox: &mut Inbox<'_, Tick>) {
        while inbox.pop().is_some() {}
    }

    fn end(&mut self, _batch: &mut Batch<'_, Normal>) {}
}

#[test]
fn no_message_to_the_control_fsm_is_left_behind_however_the_start_interleaves() {
    const TICKS: u64 = 20;
    for round in 0..400 {
        let system = Builder::new(Config::default(), Box::new(Control))
            .build()
            .unwrap();
        let router = system.router();
        for address in 1..=2 {
            assert!(router.register(address, Box::new(Normal)).is_ok());
        }
        let control = Arc::new(AtomicU64::new(0));
        let (for_handlers, counter) = (router.clone(), Arc::clone(&control));
        let driver = ThreadDriver::spawn("start", system, move |_| Ticks {
            router: for_handlers.clone(),
            control: Arc::clone(&counter),
        })
        .unwrap();
        for _ in 0..TICKS {
            assert!(router.send_control(Tick).is_ok());
            for _ in 0..round % 4 {
                std::thread::yield_now();
            }
        }
        let start = Instant::now();
        while control.load(Ordering::Relaxed) < TICKS {
            assert!(
                start.elapsed() < Duration::from_secs(5),
                "round {round}: {control:?} of {TICKS}"
            );
            std::thread::yield_now();
        }
        driver.shutdown();
    }
}
