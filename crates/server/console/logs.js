// What the nodes have logged: lines of all of them in one order, by time, level and a pattern.

import { all, stores } from './api.js';
import { h, panel, segments, table } from './dom.js';
import { colour, plural } from './format.js';

export const title = 'Logs';
/** A search reads files: it is for who asks, and is repeated seldom. */
export const every = 30_000;

/** So many lines of each store are asked for, and as many are shown. */
const LINES = 300;
const LEVELS = [['', 'All'], ['warn,error,fatal', 'Warnings'], ['error,fatal', 'Errors']];
const SPANS = [[15 * 60_000, '15 min'], [3_600_000, '1 h'], [86_400_000, '1 day']];
const FILES = [['normal', 'Log'], ['slow', 'Slow log']];

const asked = { level: '', span: SPANS[0][0], target: 'normal', pattern: '' };

export async function load() {
  const query = new URLSearchParams({ target: asked.target, limit: LINES, start: Date.now() - asked.span });
  if (asked.level) query.set('level', asked.level);
  if (asked.pattern) query.set('pattern', asked.pattern);
  const known = (await stores()).filter(store => store.status_address);
  return all(Object.fromEntries(known.map(store => [store.id, `store/${store.id}/diagnosis/log?${query}`])));
}

export function view(found, { again }) {
  const ask = (name, value) => {
    asked[name] = value;
    again();
  };
  const search = event => {
    event.preventDefault();
    ask('pattern', event.target.elements.pattern.value);
  };
  const failed = Object.entries(found).filter(([, answer]) => answer.error);
  return [
    h('div', { class: 'title' },
      h('h1', {}, 'Logs'),
      h('div', { class: 'end' },
        h('form', { class: 'inline', onsubmit: search },
          h('input', { type: 'search', name: 'pattern', placeholder: 'A regular expression', 'aria-label': 'A regular expression' }),
          h('button', {}, 'Search')),
        segments('Which file', FILES, asked.target, value => ask('target', value)),
        segments('How severe', LEVELS, asked.level, value => ask('level', value)),
        segments('How far back', SPANS, asked.span, value => ask('span', value)))),
    failed.map(([store, { error }]) => h('p', { class: 'wrong' }, `Store ${store}: ${error}`)),
    lines(found),
  ];
}

function lines(found) {
  const answers = Object.entries(found).filter(([, answer]) => !answer.error);
  const merged = answers.flatMap(([store, answer]) => answer.messages.map(line => ({ store, ...line })));
  merged.sort((one, other) => other.time_ms - one.time_ms);
  const isCut = merged.length > LINES || answers.some(([, answer]) => !answer.is_complete);
  const note = isCut ? `the newest ${Math.min(LINES, merged.length)}` : plural(merged.length, 'line');
  return panel('Lines', `${note}, the newest first`, table(['When', 'Store', 'Level', 'What'], merged.slice(0, LINES).map(line => [
    h('time', { datetime: new Date(line.time_ms).toISOString() }, when(line.time_ms)),
    [h('span', { class: 'dot', style: { background: colour(line.store) } }), `store ${line.store}`],
    h('span', { class: `pill ${STATES[line.level] ?? ''}` }, line.level.toLowerCase()),
    h('code', {}, line.message),
  ]), ['No line', 'Nothing that was logged in this time matches.'], 'log'));
}

const STATES = { WARN: 'warn', ERROR: 'bad', FATAL: 'bad' };

/** In UTC, as the files have it. */
const when = time => new Date(time).toISOString().replace('T', ' ').replace('Z', '');
