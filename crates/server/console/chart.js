// Lines over the last minutes.

import { h } from './dom.js';
import { points } from './series.js';
import { seconds } from './format.js';

const WIDTH = 300;
const HEIGHT = 60;

/**
 * A panel with one or two lines. `lines`: name, colour, and the value at a point; `form` shows a value. While a
 * pointer is over it, the values at that moment stand where else those of now are.
 */
export function spark(title, lines, form, note = '') {
  const values = lines.map(line => points.map(line.of));
  const largest = Math.max(...values.flat().filter(Number.isFinite), 0);
  const top = largest > 0 ? largest * 1.08 : 1;
  const x = at => points.length < 2 ? WIDTH : at / (points.length - 1) * WIDTH;
  const y = value => HEIGHT - value / top * HEIGHT;
  const latest = at => lines.map((line, index) => {
    const value = values[index].at(at);
    return h('span', {}, line.name && h('small', {}, `${line.name} `), Number.isFinite(value) ? form(value) : '–', ' ');
  });
  const now = h('div', { class: 'now' }, latest(-1));
  const when = h('span', { class: 'at note' }, points.length > 1 ? `most ${form(largest)}` : note);
  const cursor = h('line', { class: 'cursor', y1: 0, y2: HEIGHT, x1: -9, x2: -9, visibility: 'hidden' });
  const picture = h('svg', {
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img',
    'aria-label': `${title}: ${now.textContent.trim()}, most ${form(largest)} in the last minutes`,
    onpointermove: event => point(event, title),
    onpointerleave: event => unpoint(event),
  },
    h('line', { x1: 0, x2: WIDTH, y1: HEIGHT, y2: HEIGHT }),
    lines.map((line, index) => path(values[index], x, y, line.colour)),
    cursor);
  const panel = h('section', { class: 'panel spark', 'data-id': title }, h('h2', { class: 'name' }, title), h('div', { class: 'top' }, now, when), picture);
  shown.set(title, { lines, values, form, x });
  return panel;
}

/** What a pointer may ask for, by title. */
const shown = new Map();

function point(event, title) {
  const { lines, values, form, x } = shown.get(title);
  if (points.length < 2) return;
  const svg = event.currentTarget;
  const box = svg.getBoundingClientRect();
  const at = Math.round((event.clientX - box.left) / box.width * (points.length - 1));
  const index = Math.max(0, Math.min(points.length - 1, at));
  const cursor = svg.querySelector('.cursor');
  cursor.setAttribute('visibility', 'visible');
  for (const end of ['x1', 'x2']) cursor.setAttribute(end, x(index));
  const text = lines.map((line, one) => `${line.name} ${form(values[one][index])}`.trim()).join(', ');
  const ago = seconds(Math.round(points.at(-1).at - points[index].at));
  svg.parentNode.querySelector('.at').textContent = `${text}, ${ago} ago`;
}

function unpoint(event) {
  event.currentTarget.querySelector('.cursor').setAttribute('visibility', 'hidden');
}

/** A line with what is below it; with a gap where nothing was measured. */
function path(values, x, y, colour) {
  const runs = [];
  values.forEach((value, at) => {
    if (!Number.isFinite(value)) return;
    if (at === 0 || !Number.isFinite(values[at - 1])) runs.push([]);
    runs.at(-1).push(`${x(at).toFixed(1)},${y(value).toFixed(1)}`);
  });
  const line = runs.map(run => `M${run.join('L')}${run.length === 1 ? 'h1' : ''}`).join('');
  const area = runs.map(run => {
    const [first, last] = [run[0].split(',')[0], run.at(-1).split(',')[0]];
    return `M${first},${HEIGHT}L${run.join('L')}L${last},${HEIGHT}Z`;
  }).join('');
  return [
    h('path', { class: 'area', d: area, style: { fill: colour } }),
    h('path', { d: line, style: { stroke: colour } }),
  ];
}
