// What the nodes and placement go by, and changing it while they run.

import { all, get, post, stores } from './api.js';
import { empty, h, panel, segments, table, toast } from './dom.js';

export const title = 'Configuration';
export const every = 10_000;

/** Whose: a store's number, or `placement`. */
let whose = null;
let filter = '';
let onlyOnline = true;
/** The item whose form is open, what was typed there, and what was wrong with what was asked for. */
let edited = null;
let typed = null;
let wrong = null;

export async function load() {
  const known = (await stores()).filter(store => store.status_address);
  whose ??= String(known[0]?.id ?? 'placement');
  const asked = Object.fromEntries(known.map(store => [store.id, `store/${store.id}/config/items`]));
  const [nodes, placement] = await Promise.all([all(asked), get('pd/config/schedule').catch(error => ({ error: error.message }))]);
  return { known, nodes, placement };
}

export function view(data, ui) {
  const { redraw } = ui;
  const choices = [...data.known.map(store => [String(store.id), `Store ${store.id}`]), ['placement', 'Placement']];
  const choose = value => {
    whose = value;
    edited = wrong = null;
    redraw();
  };
  return [
    h('div', { class: 'title' },
      h('h1', {}, 'Configuration'),
      h('p', {}, whose === 'placement' ? 'One for the whole cluster.' : 'Of each node; what can be changed online is in force at once, and at the next start.'),
      h('div', { class: 'end' },
        h('input', { type: 'search', placeholder: 'Part of a name', 'aria-label': 'Part of a name', value: filter, oninput: event => {
          filter = event.target.value;
          redraw();
        } }),
        whose !== 'placement' && h('button', { type: 'button', 'aria-pressed': String(onlyOnline), onclick: () => {
          onlyOnline = !onlyOnline;
          redraw();
        } }, onlyOnline ? 'Show all' : 'Only what can be changed'),
        segments('Whose', choices, whose, choose))),
    items(data, ui),
  ];
}

/** The items, all in one form: key, value, default, about, whether it can be changed. */
function wanted(data) {
  if (whose === 'placement') {
    if (data.placement.error) return data.placement;
    return Object.entries(data.placement).map(([key, value]) => ({ key, value, online: true, about: '' }));
  }
  return data.nodes[whose] ?? { error: 'this store is gone' };
}

function items(data, ui) {
  const found = wanted(data);
  if (found.error) return panel('No answer', null, h('p', { class: 'wrong' }, found.error));
  const shown = found.filter(item => item.key.includes(filter.trim()) && (item.online || !onlyOnline));
  if (shown.length === 0) return panel('Nothing', null, empty(['No item has this in its name', 'Names are those of the configuration file.']));
  const sections = Map.groupBy(shown, item => item.key.includes('.') ? item.key.slice(0, item.key.lastIndexOf('.')) : 'schedule');
  return [...sections].map(([section, list]) => panel(section, null, table(['Item', 'Value', 'Default', ''], list.map(item => [
    [h('code', {}, item.key.split('.').at(-1)), item.about && h('span', { class: 'note' }, item.about)],
    edited === item.key ? form(item, data, ui) : value(item, data),
    item.default === undefined ? '' : h('code', {}, text(item.default)),
    item.online && edited !== item.key && h('button', { type: 'button', class: 'small', 'data-edit': item.key, onclick: () => {
      edited = item.key;
      typed = wrong = null;
      ui.redraw();
    } }, 'Change'),
  ]), ['', ''], 'items')));
}

const text = value => typeof value === 'string' ? value : JSON.stringify(value);

/** The value here, and where another node has another one. */
function value(item, data) {
  const isUsual = item.default === undefined || text(item.default) === text(item.value);
  const others = whose === 'placement' ? [] : Object.entries(data.nodes).filter(([id, list]) => {
    const same = Array.isArray(list) && list.find(other => other.key === item.key);
    return id !== whose && same && text(same.value) !== text(item.value);
  });
  const isOwn = /^(cluster\.name|server\.(addr|status-addr|advertise-addr|labels)|storage\.data-dir)$/.test(item.key);
  return [
    h('code', {}, isUsual ? text(item.value) : h('b', {}, text(item.value))),
    others.length > 0 && !isOwn && h('span', { class: 'pill warn' }, `differs on store ${others.map(([id]) => id).join(', ')}`),
  ];
}

function form(item, data, ui) {
  const kind = typeof item.value;
  const field = kind === 'boolean'
    ? h('select', { name: 'value', 'aria-label': item.key }, ['true', 'false'].map(one => h('option', { selected: one === String(item.value) }, one)))
    : h('input', { name: 'value', 'aria-label': item.key, value: typed ?? text(item.value), autocomplete: 'off', oninput: event => {
      typed = event.target.value;
    } });
  const close = () => {
    edited = wrong = null;
    ui.redraw();
  };
  const submit = event => {
    event.preventDefault();
    const isForAll = event.submitter?.value === 'all';
    const where = isForAll ? data.known.map(store => String(store.id)) : [whose];
    change(item, meant(kind, event.target.elements.value.value), where, ui);
  };
  return h('form', { class: 'inline', 'data-id': `edit-${item.key}`, onsubmit: submit },
    field,
    h('button', { class: 'main', name: 'where', value: 'here' }, whose === 'placement' ? 'Set' : `Set on store ${whose}`),
    whose !== 'placement' && data.known.length > 1 && h('button', { name: 'where', value: 'all' }, 'Set on all'),
    h('button', { type: 'button', class: 'quiet', onclick: close }, 'Cancel'),
    wrong && h('span', { class: 'wrong', role: 'alert' }, wrong));
}

/** What was typed, as what the item is. */
function meant(kind, typed) {
  if (kind === 'boolean') return typed === 'true';
  const isNumber = kind === 'number' && typed.trim() !== '' && Number.isFinite(Number(typed));
  return isNumber ? Number(typed) : typed;
}

async function change(item, value, where, ui) {
  const paths = where.map(id => id === 'placement' ? 'pd/config' : `store/${id}/config`);
  const answers = await Promise.allSettled(paths.map(path => post(path, { [item.key]: value })));
  const failed = answers.map((answer, at) => answer.reason && `${where.length > 1 ? `store ${where[at]}: ` : ''}${answer.reason.message}`).filter(Boolean);
  if (failed.length === 0) {
    toast(`${item.key} is ${text(value)} now.`);
    edited = null;
  }
  wrong = failed.join('; ') || null;
  ui.again();
}
