// What placement is moving, and what it moved lately.

import { all, del, post } from './api.js';
import { bar, h, panel, table, toast } from './dom.js';
import { ms } from './format.js';
import { openRegion } from './region.js';

export const title = 'Operators';
export const every = 2_000;

const ENDED = 50;

export const load = () => all({ running: 'pd/operators', ended: 'pd/operators/records', schedulers: 'pd/schedulers' });

export function view({ running, ended, schedulers }, { again }) {
  const lately = ended.error ? [] : [...ended].sort((one, other) => other.ended_ms - one.ended_ms);
  return [
    h('div', { class: 'title' }, h('h1', {}, 'Operators'), h('p', {}, 'Steps for one Region each, by which placement repairs, balances and does as it is told.')),
    panel('In flight', null, running.error ? wrong(running) : table(
      ['Region', 'What for', 'Steps', 'Progress', '#For', ''],
      running.map(one => [
        region(one.region_id), purpose(one), one.steps.map(step => h('span', { class: 'note' }, step)),
        bar(one.steps_done / Math.max(1, one.steps.length), `${one.steps_done} of ${one.steps.length} steps`),
        ms(one.elapsed_ms),
        h('button', { type: 'button', class: 'small', onclick: () => act(del(`pd/operators/${one.region_id}`), `The operator of Region ${one.region_id} was given up.`, again) }, 'Give up'),
      ]), ['Nothing is being moved', 'Replicas are where they should be, or placement waits for its limits.'])),
    panel('Ended lately', ended.length > ENDED ? `the last ${ENDED}` : null, ended.error ? wrong(ended) : table(
      ['Region', 'What for', 'Steps', 'How', '#Took', '#When'],
      lately.slice(0, ENDED).map(one => [
        region(one.region_id), purpose(one), one.steps.map(step => h('span', { class: 'note' }, step)),
        h('span', { class: `pill ${one.status === 'Finished' ? 'good' : 'warn'}` }, words(one.status)),
        ms(one.elapsed_ms), `${ms(Date.now() - one.ended_ms)} ago`,
      ]), ['Nothing yet', 'since this placement leader was elected'])),
    panel('Schedulers', 'what looks for things to move', schedulers.error ? wrong(schedulers) : table(
      ['Scheduler', 'State', ''],
      schedulers.map(one => [
        one.name,
        one.paused_ms > 0 ? h('span', { class: 'pill warn' }, `paused for ${ms(one.paused_ms)}`) : h('span', { class: 'pill good' }, 'runs'),
        h('button', { type: 'button', class: 'small', onclick: () => pause(one, again) }, one.paused_ms > 0 ? 'Go on' : 'Pause for 10 min'),
      ]), ['None', 'Placement repairs, and balances nothing.'])),
  ];
}

/** `Cancelled("why")` as a person says it. */
const words = status => status.replace(/\(|\)|"/g, ' ').replace('TimedOut', 'took too long').trim().toLowerCase();
const wrong = ({ error }) => h('p', { class: 'wrong' }, error);
const purpose = one => [one.desc, h('span', { class: 'note' }, one.kind)];
const region = id => h('button', { type: 'button', class: 'small', onclick: () => openRegion(id).catch(error => toast(error.message, true)) }, String(id));

function pause(one, again) {
  const delay = one.paused_ms > 0 ? 0 : 600;
  act(post(`pd/schedulers/${one.name}`, { delay }), `${one.name} ${delay ? 'pauses' : 'goes on'}.`, again);
}

async function act(asked, done, again) {
  try {
    await asked;
    toast(done);
  } catch (error) {
    toast(error.message, true);
  }
  again();
}
