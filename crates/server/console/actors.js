// The actors that stand out on each store: Peers, which replicate, and appliers, which apply.

import { all, stores } from './api.js';
import { bar, h, panel, segments, table, toast } from './dom.js';
import { colour, count, ms } from './format.js';
import { openRegion } from './region.js';

export const title = 'Slow actors';
export const every = 4_000;

const LISTED = 40;
const LISTS = [['slowest', 'Slowest'], ['longest_queues', 'Longest queues'], ['busiest', 'Busiest'], ['rescheduled', 'Moved most']];
const SYSTEMS = { peer: 'Peers', apply: 'Appliers' };
/** By what a list is ordered. */
const WEIGHT = {
  slowest: actor => actor.poll_time_ms / Math.max(1, actor.rounds),
  longest_queues: actor => actor.waiting,
  busiest: actor => actor.poll_time_ms,
  rescheduled: actor => actor.moves,
};

let list = 'slowest';

export async function load() {
  const known = (await stores()).filter(store => store.status_address);
  return all(Object.fromEntries(known.map(store => [store.id, `store/${store.id}/debug/actors?limit=20`])));
}

export function view(found, { redraw }) {
  const failed = Object.entries(found).filter(([, answer]) => answer.error);
  return [
    h('div', { class: 'title' },
      h('h1', {}, 'Slow actors'),
      h('p', {}, 'What each store counted since it started.'),
      h('div', { class: 'end' }, segments('Which', LISTS, list, value => {
        list = value;
        redraw();
      }))),
    failed.map(([store, { error }]) => h('p', { class: 'wrong' }, `Store ${store}: ${error}`)),
    h('div', { class: 'grid halves' }, Object.entries(SYSTEMS).map(([system, name]) => one(found, system, name))),
  ];
}

function one(found, system, name) {
  const actors = Object.entries(found)
    .flatMap(([store, answer]) => (answer[system]?.[list] ?? []).map(actor => ({ store, ...actor })))
    .filter(actor => WEIGHT[list](actor) > 0)
    .sort((first, second) => WEIGHT[list](second) - WEIGHT[list](first))
    .slice(0, LISTED);
  const most = actors.length > 0 ? WEIGHT[list](actors[0]) : 1;
  return panel(name, null, table(['Region', 'Store', 'A round takes', '#Time in all', '#Messages', '#Waiting', '#Moves'], actors.map(actor => [
    h('button', { type: 'button', class: 'small', onclick: () => openRegion(actor.region_id).catch(error => toast(error.message, true)) }, String(actor.region_id)),
    [h('span', { class: 'dot', style: { background: colour(actor.store) } }), `store ${actor.store}`],
    [ms(actor.poll_time_ms / Math.max(1, actor.rounds)), bar(WEIGHT[list](actor) / most, 'in proportion to the first')],
    ms(actor.poll_time_ms), count(actor.messages), count(actor.waiting), count(actor.moves),
  ]), ['None', list === 'longest_queues' ? 'No mailbox has anything in it.' : 'None stands out.']));
}
