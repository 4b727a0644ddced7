// What the stores count, over the last minutes, as rates and quantiles.
//
// Asked for as long as the console is open, whichever page is shown, so that a line has its past.

import { get } from './api.js';

const EVERY_MS = 2_000;
/** So many points: five minutes. */
const POINTS = 150;

const FAMILIES = [
  'kontiki_grpc_request_seconds', 'kontiki_grpc_errors_total', 'kontiki_raftlog_sync_seconds',
  'process_cpu_seconds_total', 'process_resident_memory_bytes', 'process_start_time_seconds',
  'kontiki_regions', 'kontiki_region_leaders', 'kontiki_regions_hibernating', 'kontiki_kv_written_bytes_total',
];

const READS = /method="Raw(Get|BatchGet|Scan|BatchScan|Checksum|GetKeyTtl)"/;
const WRITES = /method="Raw(Put|BatchPut|Delete|BatchDelete|DeleteRange|CompareAndSwap)"/;

let before = null;
let hears = () => {};

/** A point for each moment: `{ at, reads, writes, ..., stores: { id: {...} } }`. */
export const points = [];

/** Begins to ask; `hear` is called after each answer, with the error if there is one. */
export function begin(hear) {
  hears = hear;
  tick();
}

async function tick() {
  if (!document.hidden) {
    try {
      take(await get(`series?of=${FAMILIES.join(',')}`));
      hears(null);
    } catch (error) {
      hears(error);
    }
  }
  setTimeout(tick, EVERY_MS);
}

function take({ stores }) {
  const at = performance.now() / 1000;
  const now = { at, stores };
  if (before && at - before.at < 30) {
    points.push(point(before, now));
    if (points.length > POINTS) points.shift();
  }
  before = now;
}

/** What has happened between two answers. */
function point(from, to) {
  const span = to.at - from.at;
  const all = { at: to.at, span, reads: new Histogram(), writes: new Histogram(), syncs: new Histogram(), errors: 0, cpu: 0, memory: 0, written: 0, stores: {} };
  const processes = new Set();
  for (const [id, { series, error }] of Object.entries(to.stores)) {
    const old = from.stores[id]?.series;
    if (!series || !old) {
      all.stores[id] = { error };
      continue;
    }
    const one = { reads: new Histogram(), writes: new Histogram(), syncs: new Histogram(), errors: 0, written: 0 };
    for (const [name, value] of Object.entries(series)) {
      // A counter that went back began again.
      const grown = Math.max(0, value - (old[name] ?? 0));
      if (name.startsWith('kontiki_grpc_request_seconds')) {
        if (READS.test(name)) one.reads.add(name, grown);
        else if (WRITES.test(name)) one.writes.add(name, grown);
      } else if (name.startsWith('kontiki_raftlog_sync_seconds')) one.syncs.add(name, grown);
      else if (name.startsWith('kontiki_grpc_errors_total')) one.errors += grown / span;
      else if (name.startsWith('kontiki_kv_written_bytes_total')) one.written += grown / span;
    }
    one.cpu = (series.process_cpu_seconds_total - old.process_cpu_seconds_total) / span;
    one.memory = series.process_resident_memory_bytes;
    one.regions = series.kontiki_regions;
    one.leaders = series.kontiki_region_leaders;
    one.asleep = series.kontiki_regions_hibernating;
    for (const name of ['reads', 'writes', 'syncs']) all[name].merge(one[name]);
    all.errors += one.errors;
    all.written += one.written;
    // Several nodes may live in one process, as in the playground.
    const process = series.process_start_time_seconds;
    if (!processes.has(process)) {
      processes.add(process);
      all.cpu += one.cpu;
      all.memory += one.memory;
    }
    all.stores[id] = one;
  }
  return all;
}

/** Counts by upper bounds, as Prometheus has them: each with all that is below. */
class Histogram {
  constructor() {
    this.bounds = new Map();
    this.count = 0;
  }

  add(name, grown) {
    if (name.includes('_count')) this.count += grown;
    const bound = name.includes('_bucket') && name.match(/le="([^"]+)"/)?.[1];
    if (bound) this.put(bound === '+Inf' ? Infinity : Number(bound), grown);
  }

  put(bound, grown) {
    this.bounds.set(bound, (this.bounds.get(bound) ?? 0) + grown);
  }

  merge(other) {
    this.count += other.count;
    for (const [bound, grown] of other.bounds) this.put(bound, grown);
  }

  /** In seconds; NaN if nothing happened. */
  quantile(share) {
    const bounds = [...this.bounds].sort(([one], [other]) => one - other);
    const total = bounds.at(-1)?.[1] ?? 0;
    if (total === 0) return NaN;
    let [low, below] = [0, 0];
    for (const [bound, sum] of bounds) {
      if (sum >= total * share) {
        if (bound === Infinity) return low;
        return low + (bound - low) * (total * share - below) / Math.max(1e-9, sum - below);
      }
      [low, below] = [bound, sum];
    }
    return low;
  }
}

export const rate = (histogram, span) => histogram.count / span;
