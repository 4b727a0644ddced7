// What is busy: Regions that are read or written much, and how that is spread over the stores.

import { all, stores } from './api.js';
import { bar, h, panel, table } from './dom.js';
import { bytes, colour, count, plural } from './format.js';
import { openRegion } from './region.js';

export const title = 'Hot Regions';
export const every = 5_000;

/** So many of each kind are listed. */
const LISTED = 30;

export async function load() {
  const [list, heat] = await Promise.all([
    stores(),
    all({ stores: 'pd/hotspot/stores', reads: 'pd/hotspot/regions/read', writes: 'pd/hotspot/regions/write' }),
  ]);
  return { list, ...heat };
}

export function view({ list, stores: rates, reads, writes }) {
  return [
    h('div', { class: 'title' }, h('h1', {}, 'Hot Regions'), h('p', {}, 'As the stores report to placement: each ten seconds of themselves, each minute of a Region.')),
    h('div', { class: 'grid halves' }, hottest('Read most', reads), hottest('Written most', writes)),
    panel('By store', 'in the last report', spread(list, rates)),
  ];
}

function hottest(name, heat) {
  if (heat.error) return panel(name, null, h('p', { class: 'wrong' }, heat.error));
  const found = Object.values(heat.as_leader).flatMap(store => store.statistics);
  found.sort((one, other) => other.flow_bytes - one.flow_bytes);
  const most = found[0]?.flow_bytes ?? 1;
  const note = found.length > LISTED ? `the first ${LISTED} of ${count(found.length)}` : null;
  return panel(name, note, table(['Region', 'Led by', 'Bytes a second', '#Hot for'], found.slice(0, LISTED).map(region => [
    h('button', { type: 'button', class: 'small', onclick: () => openRegion(region.region_id) }, String(region.region_id)),
    [h('span', { class: 'dot', style: { background: colour(region.store_id) } }), `store ${region.store_id}`],
    [`${bytes(region.flow_bytes)}/s`, bar(region.flow_bytes / most, `${bytes(region.flow_bytes)} a second`)],
    plural(region.hot_degree, 'report'),
  ]), ['None is hot', 'A Region counts as hot at hot-region-rate-bytes, which is set among what placement goes by.']));
}

function spread(list, rates) {
  if (rates.error) return h('p', { class: 'wrong' }, rates.error);
  const kinds = ['query-read-rate', 'query-write-rate', 'bytes-read-rate', 'bytes-write-rate'];
  const most = Object.fromEntries(kinds.map(kind => [kind, Math.max(1, ...Object.values(rates[kind]))]));
  const share = (store, kind) => {
    const rate = rates[kind][store.id] ?? 0;
    const text = kind.startsWith('bytes') ? `${bytes(rate)}/s` : `${count(rate)}/s`;
    return [text, bar(rate / most[kind], text)];
  };
  return table(['Store', 'Read requests', 'Write requests', 'Bytes read', 'Bytes written'], list.map(store => [
    [h('span', { class: 'dot', style: { background: colour(store.id) } }), h('b', {}, String(store.id)), h('span', { class: 'note' }, store.address)],
    ...kinds.map(kind => share(store, kind)),
  ]), ['No store', 'has registered yet']);
}
