// The key space, from one end to the other: who leads what, what is busy, what is large, what is not well.
//
// A cell is a Region, or some neighbours where there are more Regions than cells.

import { get } from './api.js';
import { empty, h, panel, segments, table, toast } from './dom.js';
import { bytes, colour, count, hexOf, key, plural } from './format.js';
import { openRegion } from './region.js';

export const title = 'Regions';
export const every = 5_000;

const CELLS = 720;
/** The most Regions of a cell that are listed. */
const LISTED = 200;

const COLOURS = [['leader', 'Leader'], ['load', 'Load'], ['size', 'Size'], ['health', 'Health']];

let by = 'leader';
/** The cell that is looked into: its bounds, and its Regions once they are there. */
let chosen = null;

export async function load() {
  const map = await get(`map?cells=${CELLS}`);
  if (chosen) await look();
  return map;
}

export function view(map, { redraw }) {
  const choose = value => {
    by = value;
    redraw();
  };
  return [
    h('div', { class: 'title' },
      h('h1', {}, 'Regions'),
      h('p', {}, `${plural(map.regions, 'Region')}${map.cells.length < map.regions ? `, about ${Math.ceil(map.regions / map.cells.length)} a cell` : ''}`),
      h('div', { class: 'end' }, search(), segments('Coloured by', COLOURS, by, choose))),
    panel('Key space', legend(map), grid(map, redraw)),
    chosen ? inside() : false,
  ];
}

function search() {
  const go = async event => {
    event.preventDefault();
    const text = event.target.elements.what.value.trim();
    if (!text) return;
    try {
      const id = /^\d+$/.test(text) ? Number(text) : (await get(`pd/region/key/${hexOf(text)}?format=hex`)).id;
      await openRegion(id);
    } catch (error) {
      toast(error.message, true);
    }
  };
  return h('form', { class: 'inline', role: 'search', onsubmit: go },
    h('input', { type: 'search', name: 'what', placeholder: 'Id of a Region, or a key', 'aria-label': 'Id of a Region, or a key' }),
    h('button', {}, 'Find'));
}

/** Who leads most of a cell. */
function leader(cell) {
  const leaders = Object.entries(cell.leaders).sort(([, one], [, other]) => other - one);
  return leaders[0]?.[0];
}

const WEIGHTS = {
  load: cell => cell.read_bytes_per_s + cell.written_bytes_per_s,
  size: cell => cell.size_bytes,
};

function paint(cell, largest) {
  if (by === 'leader') {
    const store = leader(cell);
    return store ? colour(store) : 'var(--bad)';
  }
  if (by === 'health') return cell.ill > 0 ? 'var(--bad)' : 'color-mix(in oklab, var(--good) 55%, var(--cool))';
  const share = largest > 0 ? Math.sqrt(WEIGHTS[by](cell) / largest) : 0;
  return `color-mix(in oklab, var(--heat) ${Math.round(share * 100)}%, var(--cool))`;
}

function words(cell) {
  const leaders = Object.entries(cell.leaders).map(([store, number]) => `store ${store}${cell.regions > 1 ? ` (${number})` : ''}`);
  return [
    cell.regions === 1 ? `Region ${cell.first}` : `${cell.regions} Regions from ${cell.first} on`,
    `from ${key(cell.start_key, 'the first key')} to ${key(cell.end_key, 'the last key')}`,
    `led by ${leaders.join(', ') || 'nobody'}`,
    `${bytes(cell.size_bytes)}, ${count(cell.keys)} keys`,
    `reads ${bytes(cell.read_bytes_per_s)}/s, writes ${bytes(cell.written_bytes_per_s)}/s`,
    cell.ill > 0 ? `${cell.ill} not well` : 'all well',
  ].join('\n');
}

function grid(map, redraw) {
  const { cells } = map;
  if (cells.length === 0) return empty(['No Region yet', 'Placement has not heard of any.']);
  const largest = WEIGHTS[by] ? Math.max(...cells.map(WEIGHTS[by])) : 0;
  const columns = cells.length <= 60 ? Math.min(12, cells.length) : 48;
  const isChosen = cell => chosen !== null && chosen.start === cell.start_key;
  const active = Math.max(0, cells.findIndex(isChosen));
  const open = async cell => {
    chosen = isChosen(cell) ? null : { start: cell.start_key, end: cell.end_key, total: cell.regions, regions: null };
    redraw();
    if (chosen === null) return;
    await look().catch(error => toast(error.message, true));
    redraw();
  };
  // One of the cells is a stop for the tab key; arrows lead from there.
  const move = event => {
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[event.key];
    const all = [...event.currentTarget.children];
    const next = all[all.indexOf(document.activeElement) + step];
    if (!step || !next) return;
    event.preventDefault();
    all.forEach(cell => cell.setAttribute('tabindex', cell === next ? '0' : '-1'));
    next.focus();
  };
  return h('div', { class: cells.length <= 60 ? 'map few' : 'map', role: 'group', 'aria-label': 'Cells in the order of keys', style: { '--columns': columns }, onkeydown: move },
    cells.map((cell, at) => h('button', {
      type: 'button', class: 'cell', title: words(cell), 'aria-label': words(cell), 'aria-pressed': String(isChosen(cell)),
      tabindex: at === active ? '0' : '-1', style: { 'background-color': paint(cell, largest) }, onclick: () => open(cell),
    }, cells.length <= 60 && by === 'leader' && String(cell.first))));
}

function legend(map) {
  if (by === 'health') return h('span', { class: 'legend' }, mark('var(--good)', 'well'), mark('var(--bad)', 'no leader, or a replica that is down, behind or quarantined'));
  if (by === 'leader') {
    const led = {};
    for (const cell of map.cells) for (const [store, number] of Object.entries(cell.leaders)) led[store] = (led[store] ?? 0) + number;
    return h('span', { class: 'legend' }, Object.entries(led).map(([store, number]) => mark(colour(store), `store ${store} leads ${count(number)}`)));
  }
  const largest = Math.max(0, ...map.cells.map(WEIGHTS[by]));
  return h('span', { class: 'legend' }, h('span', {}, '0'), h('span', { class: 'ramp' }), h('span', {}, `${bytes(largest)}${by === 'load' ? '/s' : ''} a cell`));
}

const mark = (paint, text) => h('span', {}, h('span', { class: 'dot', style: { background: paint } }), text);

async function look() {
  const asked = chosen;
  const { regions } = await get(`pd/regions/key?key=${asked.start}&end_key=${asked.end}&format=hex&limit=${LISTED}`);
  asked.regions = regions;
}

function inside() {
  const { regions, total } = chosen;
  if (!regions) return panel('This cell', null, h('div', { class: 'bones' }));
  const note = total > LISTED ? `the first ${LISTED} of ${count(total)}` : plural(regions.length, 'Region');
  return panel('This cell', note, table(
    ['Region', 'From', 'To', 'Led by', '#Size', '#Keys', '#Reads', '#Writes', 'Replicas'],
    regions.map(region => [
      h('button', { type: 'button', class: 'small', onclick: () => openRegion(region.id) }, String(region.id)),
      h('span', { class: 'key' }, key(region.start_key, 'first key')),
      h('span', { class: 'key' }, key(region.end_key, 'last key')),
      region.leader ? mark(colour(region.leader.store_id), `store ${region.leader.store_id}`) : h('span', { class: 'pill bad' }, 'nobody'),
      bytes(region.approximate_size_bytes), count(region.approximate_keys),
      `${bytes(region.read_bytes_per_s)}/s`, `${bytes(region.written_bytes_per_s)}/s`,
      wellness(region),
    ]), ['Nothing here', 'The Regions of this cell have changed.']));
}

function wellness(region) {
  const kinds = [['down_peers', 'down', 'bad'], ['pending_peers', 'behind', 'warn'], ['quarantined_peers', 'quarantined', 'bad']];
  const found = kinds.filter(([list]) => region[list].length > 0);
  if (found.length === 0) return `${region.peers.length} well`;
  return found.map(([list, what, state]) => h('span', { class: `pill ${state}` }, `${region[list].length} ${what}`));
}

