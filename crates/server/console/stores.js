// The stores: how they are, what they hold, what they do.

import { stores } from './api.js';
import { bar, h, panel, table } from './dom.js';
import { bytes, colour, count, digits, ms, seconds } from './format.js';
import { points, rate } from './series.js';

export const title = 'Stores';
export const every = 4_000;

export const load = () => stores();

const STATES = { Up: 'good', Disconnected: 'warn', Down: 'bad', Offline: 'warn' };

export function view(list) {
  return [
    h('div', { class: 'title' }, h('h1', {}, 'Stores'), h('p', {}, 'Each heard of by the placement leader; figures of their own from their status servers.')),
    panel('State and space', null, table(
      ['Store', 'State', 'Last heard', 'Disk', '#Regions', '#Leaders', '#Slow score', 'Version', ''],
      list.map(store => [
        name(store),
        state(store),
        Number.isFinite(store.last_heartbeat_age_ms) ? `${ms(store.last_heartbeat_age_ms)} ago` : 'never',
        disk(store),
        count(store.region_count),
        count(store.leader_count),
        slow(store),
        store.version,
        store.status_address && h('a', { href: `http://${store.status_address}/` }, 'its own page'),
      ]), ['No store', 'has registered yet'])),
    panel('Load', 'now', table(
      ['Store', '#Reads a second', '#p99', '#Writes a second', '#p99', '#Sync p99', '#Refused a second', '#Cores', '#Memory'],
      list.map(store => [name(store), ...load_of(store)]), ['No store', 'has registered yet'])),
  ];
}

function name(store) {
  const labels = store.labels ?? [];
  return [
    h('span', { class: 'dot', style: { background: colour(store.id) } }), h('b', {}, String(store.id)),
    h('span', { class: 'note' }, store.address),
    labels.map(label => h('span', { class: 'tag' }, `${label.key}=${label.value}`)),
  ];
}

function state(store) {
  const words = store.state === 'Offline' ? 'draining' : store.state.toLowerCase();
  return [
    h('span', { class: `pill ${STATES[store.state] ?? ''}` }, words),
    store.is_busy && h('span', { class: 'pill warn' }, 'busy'),
  ];
}

function disk(store) {
  if (!store.capacity_bytes) return 'not known';
  const share = 1 - store.available_bytes / store.capacity_bytes;
  const text = `${bytes(store.used_bytes)} here, ${bytes(store.available_bytes)} free`;
  return [bar(share, text, share > .9 ? 'bad' : share > .8 ? 'warn' : ''), h('span', { class: 'note' }, text)];
}

function slow(store) {
  return store.is_slow ? h('span', { class: 'pill bad' }, `${digits(store.slow_score)} slow`) : digits(store.slow_score);
}

function load_of(store) {
  const now = points.at(-1);
  const one = now?.stores[store.id];
  if (!one?.reads) return [h('span', { class: 'wrong' }, one?.error ?? '–'), ...Array(7).fill('–')];
  return [
    count(rate(one.reads, now.span)), seconds(one.reads.quantile(.99)),
    count(rate(one.writes, now.span)), seconds(one.writes.quantile(.99)),
    seconds(one.syncs.quantile(.99)), digits(one.errors), digits(one.cpu), bytes(one.memory),
  ];
}
