//! One server process: started with its output in a file, ended whatever happens to the test.
//!
//! **Invariants.** A process ends with its [`Process`]; if the test's own process dies first, the
//! kernel kills it. After a panic the end of its output is shown. Processor time is read from the
//! kernel's own accounting and covers all threads of the process.
//!
//! **Not here.** What the process is and when it is ready (`cluster`).

use crate::{Error, Result};
use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{LazyLock, mpsc};
use std::time::{Duration, Instant};

/// A running (or ended) process.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

const LOG_TAIL_LINES: usize = 60;
const POLL: Duration = Duration::from_millis(5);

impl Process {
    /// Starts `program`; its output is appended to `log`.
    pub fn spawn(name: &str, program: &Path, args: &[OsString], log: &Path) -> Result<Process> {
        Self::spawn_with(name, program, args, &[], log)
    }

    /// The same, with more in its environment.
    pub fn spawn_with(
        name: &str,
        program: &Path,
        args: &[OsString],
        environment: &[(String, String)],
        log: &Path,
    ) -> Result<Process> {
        let failed = |error| Error::Spawn {
            program: program.to_owned(),
            source: error,
        };
        let output = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .map_err(failed)?;
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null());
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        command
            .stdout(output.try_clone().map_err(failed)?)
            .stderr(output);
        prepare(&mut command);
        let child = spawn_from_a_lasting_thread(command).map_err(failed)?;
        Ok(Process {
            name: name.to_owned(),
            child,
            log: log.to_owned(),
        })
    }

    /// Its id, while it runs and until it is reaped.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as a power cut would, and returns once it is gone. Nothing happens if it has ended.
    pub fn kill(&mut self) {
        // Both fail only for a process that has ended, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to stop (SIGTERM) and waits for that.
    pub fn terminate(&mut self, within: Duration) -> Result<ExitStatus> {
        if let Some(status) = self.ended() {
            return Ok(status);
        }
        self.signal(libc::SIGTERM);
        self.wait(within)
    }

    /// Stops its threads where they are, as an overloaded machine would (SIGSTOP).
    pub fn pause(&self) {
        self.signal(libc::SIGSTOP);
    }

    /// Lets a paused one go on (SIGCONT).
    pub fn resume(&self) {
        self.signal(libc::SIGCONT);
    }

    /// From now on each of its writes beyond so many bytes of a file fails: a disk that takes no
    /// more, without the need for one.
    pub fn limit_files(&self, bytes: u64) -> Result<()> {
        let limit = libc::rlimit {
            rlim_cur: bytes,
            rlim_max: bytes,
        };
        let pid = self.child.id() as libc::pid_t;
        // SAFETY: the limit outlives the call, and no old one is asked for.
        let set = unsafe { libc::prlimit(pid, libc::RLIMIT_FSIZE, &limit, std::ptr::null_mut()) };
        if set == 0 {
            return Ok(());
        }
        Err(Error::Io {
            path: format!("/proc/{pid}/limits").into(),
            source: std::io::Error::last_os_error(),
        })
    }

    fn signal(&self, signal: libc::c_int) {
        // SAFETY: a signal to our own child, which has not been reaped: the id is still its own.
        unsafe { libc::kill(self.child.id() as libc::pid_t, signal) };
    }

    /// Waits until it ends by itself.
    pub fn wait(&mut self, within: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.ended() {
                return Ok(status);
            }
            if Instant::now() > deadline {
                return Err(Error::StillRunning {
                    name: self.name.clone(),
                    after: within,
                });
            }
            std::thread::sleep(POLL);
        }
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Processor time since it was started, user and system, of all threads.
    pub fn cpu_time(&self) -> Result<Duration> {
        cpu_time_of(&format!("/proc/{}/stat", self.child.id()))
    }

    /// Memory that is resident, in bytes.
    pub fn resident_bytes(&self) -> Result<u64> {
        let path = PathBuf::from(format!("/proc/{}/status", self.child.id()));
        let text = fs::read_to_string(&path).map_err(|source| Error::Io { path, source })?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse().ok());
        Ok(kib.unwrap_or(0) * 1024)
    }

    /// All that it has written so far.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    fn output_tail(&self) -> String {
        let output = self.output();
        let lines: Vec<&str> = output.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let ended = self.ended();
        self.kill();
        if std::thread::panicking() {
            let state = ended.map_or("was running".to_owned(), |status| status.to_string());
            eprintln!(
                "--- end of the output of {} ({state})\n{}",
                self.name,
                self.output_tail()
            );
        }
    }
}

/// Processor time of this process itself, user and system, of all threads.
pub fn own_cpu_time() -> Result<Duration> {
    cpu_time_of("/proc/self/stat")
}

fn cpu_time_of(stat: &str) -> Result<Duration> {
    let text = fs::read_to_string(stat).map_err(|error| Error::Io {
        path: stat.into(),
        source: error,
    })?;
    // The second field is the program's name in parentheses and may hold anything: count from the
    // last parenthesis. Then user and system time are the 12th and 13th.
    let ticks: Option<u64> = text.rsplit_once(')').and_then(|(_, rest)| {
        let fields: Vec<&str> = rest.split_whitespace().collect();
        Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
    });
    let ticks = ticks.ok_or_else(|| Error::Stat { path: stat.into() })?;
    // SAFETY: no arguments but a constant.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    Ok(Duration::from_secs_f64(ticks as f64 / per_second as f64))
}

/// The process dies with this one, and a write beyond [`Process::limit_files`] is an error that the
/// program sees: the kernel's default is to kill it. A hang-up ends it also where the tests ignore one.
fn prepare(command: &mut Command) {
    // SAFETY: prctl and signal are async-signal-safe, and the closure touches nothing else.
    unsafe {
        command.pre_exec(|| {
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
            libc::signal(libc::SIGHUP, libc::SIG_DFL);
            match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    }
}

type SpawnRequest = (Command, mpsc::SyncSender<std::io::Result<Child>>);

/// "Parent" means the parent *thread* to the kernel: a process started from a pool's thread would be
/// killed when that thread retires. So one thread, which never ends, starts them all.
fn spawn_from_a_lasting_thread(command: Command) -> std::io::Result<Child> {
    static SPAWNER: LazyLock<mpsc::Sender<SpawnRequest>> = LazyLock::new(|| {
        let (sender, requests) = mpsc::channel::<SpawnRequest>();
        std::thread::spawn(move || {
            for (mut command, reply) in requests {
                // The one who asked is waiting for it; if not, the child's handle is just dropped.
                let _ = reply.send(command.spawn());
            }
        });
        sender
    });
    let (reply, answer) = mpsc::sync_channel(1);
    let gone = || std::io::Error::other("the thread that starts processes has ended");
    SPAWNER.send((command, reply)).map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> (tempfile::TempDir, Process) {
        let dir = tempfile::tempdir().unwrap();
        let args = ["-c".into(), script.into()];
        let process = Process::spawn(
            "shell",
            Path::new("/bin/sh"),
            &args,
            &dir.path().join("log"),
        )
        .unwrap();
        (dir, process)
    }

    #[test]
    fn a_process_that_ends_by_itself_leaves_its_status_and_output() {
        let (_dir, mut process) = shell("echo out; echo err >&2; exit 3");
        let status = process.wait(Duration::from_secs(10)).unwrap();
        assert_eq!(status.code(), Some(3));
        assert_eq!(process.output(), "out\nerr\n");
    }

    #[test]
    fn a_process_dies_with_its_handle() {
        let (_dir, process) = shell("exec sleep 600");
        let stat = format!("/proc/{}/stat", process.pid());
        assert!(Path::new(&stat).exists());
        drop(process);
        assert!(!Path::new(&stat).exists());
    }

    #[test]
    fn a_process_outlives_the_thread_that_asked_for_it() {
        let (_dir, mut process) = std::thread::spawn(|| shell("exec sleep 600"))
            .join()
            .unwrap();
        assert!(
            process.wait(Duration::from_millis(200)).is_err(),
            "it should still be running"
        );
    }

    #[test]
    fn a_process_that_ignores_a_request_to_stop_is_reported() {
        let (_dir, mut process) = shell("trap '' TERM; echo ready; while :; do sleep 1; done");
        while !process.output().contains("ready") {
            std::thread::yield_now();
        }
        let error = process.terminate(Duration::from_millis(50)).unwrap_err();
        assert!(matches!(error, Error::StillRunning { .. }));
    }

    #[test]
    fn a_write_beyond_the_limit_of_files_fails_and_does_not_kill() {
        let script = "f=$(mktemp); while printf 0123456789 >>$f; do :; done 2>/dev/null; \
                      wc -c <$f; rm $f";
        let (_dir, mut process) = shell(script);
        process.limit_files(100_000).unwrap();
        assert!(process.wait(Duration::from_secs(30)).unwrap().success());
        assert_eq!(process.output().trim(), "100000");
    }

    #[test]
    fn a_paused_process_uses_no_processor_until_it_is_resumed() {
        let (_dir, busy) = shell("while :; do :; done");
        let until = |enough: Duration| {
            while busy.cpu_time().unwrap() < enough {
                std::thread::yield_now();
            }
        };
        until(Duration::from_millis(20));
        busy.pause();
        let paused_at = busy.cpu_time().unwrap();
        std::thread::sleep(Duration::from_millis(100));
        // The kernel counts in ticks of 10 ms, and the signal took a moment to arrive.
        assert!(busy.cpu_time().unwrap() <= paused_at + Duration::from_millis(20));
        busy.resume();
        until(paused_at + Duration::from_millis(50));
    }

    #[test]
    fn processor_time_is_counted_for_a_busy_process_only() {
        let (_busy_dir, busy) = shell("while :; do :; done");
        let (_idle_dir, idle) = shell("exec sleep 600");
        while busy.cpu_time().unwrap() < Duration::from_millis(50) {
            std::thread::yield_now();
        }
        assert!(idle.cpu_time().unwrap() < Duration::from_millis(40));
    }

    #[test]
    fn a_program_that_does_not_exist_is_named_in_the_error() {
        let dir = tempfile::tempdir().unwrap();
        let program = Path::new("/nowhere/kontiki");
        let error = Process::spawn("x", program, &[], &dir.path().join("log")).unwrap_err();
        assert!(error.to_string().contains("/nowhere/kontiki"), "{error}");
    }
}
