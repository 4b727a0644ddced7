//! What the kernel's files in `/proc` say, taken apart.
//!
//! **Invariants.** What is not as expected is left out, and never an error: kernels differ.
//!
//! **Not here.** Reading the files (`machine`).

use std::collections::BTreeMap;

/// How a processor spent its time, in ticks, by what for.
pub(super) const CPU_STATES: [&str; 8] = [
    "user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal",
];

/// Bytes of a sector in the kernel's figures, whatever the disk has.
const SECTOR_BYTES: u64 = 512;

/// Figures of something, which only grow.
pub(super) type Figures = BTreeMap<String, Vec<u64>>;

/// `/proc/stat`: each processor's ticks, and all together as `cpu`.
pub(super) fn cpus(text: &str) -> Figures {
    let lines = text.lines().filter(|line| line.starts_with("cpu"));
    lines
        .filter_map(|line| {
            let (name, numbers) = line.split_once(' ')?;
            let ticks: Vec<u64> = self::numbers(numbers).take(CPU_STATES.len()).collect();
            (ticks.len() == CPU_STATES.len()).then(|| (name.to_owned(), ticks))
        })
        .collect()
}

/// `/proc/net/dev`: each interface's bytes and errors received, and bytes and errors sent.
pub(super) fn nets(text: &str) -> Figures {
    text.lines()
        .filter_map(|line| {
            let (name, rest) = line.split_once(':')?;
            let all: Vec<u64> = numbers(rest).collect();
            let figures = vec![*all.first()?, *all.get(2)?, *all.get(8)?, *all.get(10)?];
            Some((name.trim().to_owned(), figures))
        })
        .collect()
}

/// `/proc/diskstats`: each disk's reads, bytes read, writes, bytes written, and milliseconds in which it was busy.
pub(super) fn disks(text: &str) -> Figures {
    text.lines()
        .filter_map(|line| {
            let name = line.split_whitespace().nth(2)?;
            let all: Vec<u64> = line
                .split_whitespace()
                .skip(3)
                .map_while(|n| n.parse().ok())
                .collect();
            let bytes = |at: usize| all.get(at).map(|sectors| sectors * SECTOR_BYTES);
            let figures = vec![
                *all.first()?,
                bytes(2)?,
                *all.get(4)?,
                bytes(6)?,
                *all.get(9)?,
            ];
            let is_real = !name.starts_with("loop") && !name.starts_with("ram");
            is_real.then(|| (name.to_owned(), figures))
        })
        .collect()
}

/// What each has grown by.
pub(super) fn difference(before: &Figures, after: &Figures) -> Figures {
    let grown = after.iter().filter_map(|(name, now)| {
        let then = before.get(name)?;
        let by = now
            .iter()
            .zip(then)
            .map(|(now, then)| now.saturating_sub(*then));
        Some((name.clone(), by.collect()))
    });
    grown.collect()
}

/// `/proc/meminfo`, in bytes.
pub(super) fn memory(text: &str) -> BTreeMap<String, u64> {
    text.lines()
        .filter_map(|line| {
            let (name, rest) = line.split_once(':')?;
            let kib: u64 = rest.split_whitespace().next()?.parse().ok()?;
            Some((name.to_owned(), kib << 10))
        })
        .collect()
}

/// What `/proc/cpuinfo` says of the processors.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Cpus {
    pub(super) logical: usize,
    pub(super) physical: usize,
    pub(super) vendor: String,
    pub(super) model: String,
    pub(super) mhz: String,
}

/// `/proc/cpuinfo`.
pub(super) fn cpuinfo(text: &str) -> Cpus {
    let mut cpus = Cpus::default();
    let mut cores = std::collections::BTreeSet::new();
    let mut socket = String::new();
    for line in text.lines() {
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        let value = value.trim();
        match name.trim() {
            "processor" => cpus.logical += 1,
            "physical id" => value.clone_into(&mut socket),
            "core id" => _ = cores.insert((socket.clone(), value.to_owned())),
            "vendor_id" => value.clone_into(&mut cpus.vendor),
            "model name" => value.clone_into(&mut cpus.model),
            "cpu MHz" => value.clone_into(&mut cpus.mhz),
            _ => {}
        }
    }
    cpus.physical = if cores.is_empty() {
        cpus.logical
    } else {
        cores.len()
    };
    cpus
}

/// What is mounted from a disk: device, path and file system, each device once.
pub(super) fn mounts(text: &str) -> Vec<(String, String, String)> {
    let mut found: Vec<(String, String, String)> = Vec::new();
    for line in text.lines() {
        let mut fields = line.split(' ').map(unescaped);
        let (Some(device), Some(path), Some(kind)) = (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let is_memory = kind == "tmpfs" && !path.starts_with("/dev") && !path.starts_with("/sys");
        let is_new = found
            .iter()
            .all(|(known, at, _)| *known != device || is_memory && *at != path);
        if (device.starts_with('/') || is_memory || path == "/") && is_new {
            found.push((device, path, kind));
        }
    }
    found
}

/// A space in a path is `\040` there.
fn unescaped(field: &str) -> String {
    field.replace("\\040", " ")
}

fn numbers(text: &str) -> impl Iterator<Item = u64> {
    text.split_whitespace()
        .map_while(|number| number.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_of_processors_are_read_and_subtracted() {
        let before = cpus("cpu  10 0 5 100 1 0 0 0 0 0\ncpu0 10 0 5 100 1 0 0 0 0 0\nintr 5 6\n");
        let after =
            cpus("cpu  40 0 5 160 2 0 0 0 0 0\ncpu0 10 0 5 90 1 0 0 0 0 0\ncpu1 1 1 1 1 1 1 1 1\n");
        assert_eq!(before.len(), 2);
        let grown = difference(&before, &after);
        assert_eq!(grown["cpu"], [30, 0, 0, 60, 1, 0, 0, 0]);
        assert_eq!(grown["cpu0"][3], 0, "a counter that went back is no time");
        assert_eq!(grown.len(), 2);
    }

    #[test]
    fn interfaces_and_disks_are_read() {
        let text = "Inter-|   Receive\n face |bytes    packets errs\n    lo: 100 1 2 0 0 0 0 0 300 3 4 0 0 0 0 0\n";
        assert_eq!(
            nets(text),
            Figures::from([("lo".to_owned(), vec![100, 2, 300, 4])])
        );
        let text = "   8 0 sda 10 0 20 5 30 0 40 6 0 77 11 0\n   7 0 loop0 1 1 1 1 1 1 1 1 1 1 1\n";
        let expected = vec![10, 20 * 512, 30, 40 * 512, 77];
        assert_eq!(disks(text), Figures::from([("sda".to_owned(), expected)]));
    }

    #[test]
    fn memory_is_in_bytes() {
        let memory = memory("MemTotal:       16 kB\nHugePages_Total:   0\nodd\n");
        assert_eq!(memory["MemTotal"], 16 << 10);
    }

    #[test]
    fn cores_are_counted_once_for_all_their_threads() {
        let one = |number: u32, socket: u32, core: u32| {
            format!(
                "processor : {number}\nvendor_id\t: V\nmodel name\t: M\ncpu MHz\t: 2000.1\nphysical id: {socket}\ncore id : {core}\n\n"
            )
        };
        let text = [one(0, 0, 0), one(1, 0, 0), one(2, 0, 1), one(3, 1, 0)].concat();
        let cpus = cpuinfo(&text);
        assert_eq!((cpus.logical, cpus.physical), (4, 3));
        assert_eq!(
            (&*cpus.vendor, &*cpus.model, &*cpus.mhz),
            ("V", "M", "2000.1")
        );
        assert_eq!(cpuinfo("processor: 0\n").physical, 1);
    }

    #[test]
    fn disks_are_listed_once_and_what_is_no_disk_is_not() {
        let text = "proc /proc proc rw 0 0\n/dev/sda1 / ext4 rw 0 0\n/dev/sda1 /again ext4 rw 0 0\n\
                    tmpfs /dev/shm tmpfs rw 0 0\ntmpfs /data\\0401 tmpfs rw 0 0\nodd\n";
        let mounts = mounts(text);
        let paths: Vec<&str> = mounts.iter().map(|(_, path, _)| &**path).collect();
        assert_eq!(paths, ["/", "/data 1"]);
    }
}
