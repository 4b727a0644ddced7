// Whether the cluster is well, and what it does.

import { all, stores } from './api.js';
import { spark } from './chart.js';
import { bar, empty, h, panel, table, tile } from './dom.js';
import { bytes, colour, count, digits, plural, seconds } from './format.js';
import { points, rate } from './series.js';

export const title = 'Overview';
export const every = 5_000;

/** What may be wrong with Regions, the worst first, and what it means. */
const CHECKS = [
  ['no-leader', 'without a leader', 'nobody serves them', 'bad'],
  ['quarantined-peer', 'with a quarantined replica', 'it holds something else than most', 'bad'],
  ['down-peer', 'with a replica that is down', 'not heard of for long', 'bad'],
  ['miss-peer', 'with too few replicas', 'being given more, if a store has room', 'warn'],
  ['offline-peer', 'with a replica that leaves', 'its store is drained', 'warn'],
  ['pending-peer', 'with a replica that catches up', 'usual for a while after a move', 'warn'],
  ['extra-peer', 'with too many replicas', 'about to be removed', ''],
  ['learner-peer', 'with a learner', 'about to become a voter', ''],
];

export async function load() {
  const [list, rest] = await Promise.all([
    stores(),
    all({ map: 'map?cells=1', members: 'pd/members', operators: 'pd/operators' }),
  ]);
  return { list, ...rest };
}

export function view({ list, map, members, operators }) {
  const up = list.filter(store => store.state === 'Up').length;
  const ill = CHECKS.filter(([name, , , state]) => state && map.health?.[name] > 0);
  const worst = ill.some(([, , , state]) => state === 'bad') ? 'bad' : ill.length > 0 ? 'warn' : 'good';
  const [first] = ill;
  return [
    h('div', { class: 'title' },
      h('h1', {}, 'Overview'),
      h('p', {}, `Cluster ${members.header?.cluster_id ?? '–'}`)),
    h('div', { class: 'grid tiles' },
      tile('Stores', [String(up), h('small', {}, ` of ${list.length} up`)], up === list.length ? 'all are heard of' : 'some are not heard of', up === list.length ? 'good' : 'bad'),
      tile('Regions', count(map.regions), map.error ?? plural(Math.max(0, (map.regions ?? 0) - (map.health?.['no-leader'] ?? 0)), 'leader')),
      tile('Replication', ill.length === 0 ? 'Whole' : `${count(map.health[first[0]])}`, ill.length === 0 ? 'every replica is well' : first[1], map.error ? '' : worst),
      tile('Placement leader', members.leader?.name ?? 'None', members.leader ? address(members.leader) : 'an election is on', members.leader ? '' : 'bad'),
      tile('Operators', count(operators.length ?? 0), operators.length > 0 ? 'moving things' : 'nothing is being moved')),
    h('div', { class: 'grid sparks' },
      spark('Reads a second', [{ name: '', colour: 'var(--s1)', of: now => rate(now.reads, now.span) }], count),
      spark('Writes a second', [{ name: '', colour: 'var(--s2)', of: now => rate(now.writes, now.span) }], count),
      spark('Read latency', [
        { name: 'p99', colour: 'var(--s1)', of: now => now.reads.quantile(.99) },
        { name: 'p50', colour: 'var(--s6)', of: now => now.reads.quantile(.5) }], seconds),
      spark('Write latency', [
        { name: 'p99', colour: 'var(--s2)', of: now => now.writes.quantile(.99) },
        { name: 'p50', colour: 'var(--s8)', of: now => now.writes.quantile(.5) }], seconds),
      spark('Sync of the Raft log', [
        { name: 'p99', colour: 'var(--s4)', of: now => now.syncs.quantile(.99) },
        { name: 'p50', colour: 'var(--s7)', of: now => now.syncs.quantile(.5) }], seconds),
      spark('Refused or failed a second', [{ name: '', colour: 'var(--s5)', of: now => now.errors }], digits),
      spark('Processor cores', [{ name: '', colour: 'var(--s3)', of: now => now.cpu }], digits),
      spark('Memory', [{ name: '', colour: 'var(--s7)', of: now => now.memory }], bytes)),
    h('div', { class: 'grid halves' },
      panel('Replication health', h('a', { href: '#/regions' }, 'the map'), health(map)),
      panel('Who does what', h('a', { href: '#/stores' }, 'all of the stores'), shares(list))),
  ];
}

const address = member => new URL(member.client_urls[0]).host;

function health(map) {
  if (map.error) return empty(['Placement does not answer', map.error]);
  return h('div', { class: 'list' }, CHECKS.flatMap(([name, what, meaning, state]) => {
    const number = map.health[name];
    return [
      h('div', {}, `Regions ${what} `, h('span', { class: 'note' }, meaning)),
      h('div', {}, number === 0 ? h('span', { class: 'note' }, 'none') : h('span', { class: `pill ${state}` }, count(number))),
    ];
  }));
}

function shares(list) {
  const now = points.at(-1);
  const sum = of => Math.max(1e-9, list.reduce((sum, store) => sum + (of(store) || 0), 0));
  const leaders = store => store.leader_count;
  const requests = store => {
    const one = now?.stores[store.id];
    return one?.reads ? rate(one.reads, now.span) + rate(one.writes, now.span) : 0;
  };
  const share = (store, of, form) => [form(of(store)), bar(of(store) / sum(of), `${form(of(store))} of ${form(sum(of))}`)];
  return table(['Store', 'Leaders', 'Requests a second', '#Processor'], list.map(store => [
    [h('span', { class: 'dot', style: { background: colour(store.id) } }), `${store.id}`, h('span', { class: 'note' }, store.address)],
    share(store, leaders, count),
    share(store, requests, count),
    digits(now?.stores[store.id]?.cpu ?? NaN),
  ]), ['No store', 'has registered yet']);
}
