// Making elements, and changing those that are there into those that should be.
//
// Why not to replace them all: whoever has the focus in a field, or a pointer on a row, keeps it when
// figures change.

const SVG = 'http://www.w3.org/2000/svg';
const SHAPES = new Set(['svg', 'path', 'line', 'g', 'title', 'circle']);

/** An element. `props`: attributes, `on...` handlers, and `style` as an object. False children are left out. */
export function h(tag, props = {}, ...children) {
  const node = SHAPES.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith('on')) {
      node[name] = value;
    } else if (name === 'style') {
      for (const [key, one] of Object.entries(value)) node.style.setProperty(key, one);
    } else if (name === 'value') {
      node.value = value;
      node.setAttribute('value', value);
    } else {
      node.setAttribute(name, value === true ? '' : value);
    }
  }
  node.append(...children.flat(Infinity).filter(isShown));
  return node;
}

const isShown = child => child !== false && child !== null && child !== undefined;
const HANDLERS = ['onclick', 'oninput', 'onchange', 'onsubmit', 'onkeydown', 'onpointermove', 'onpointerleave'];

/** Makes the children of `parent` what these are, and keeps what can be kept. */
export function show(parent, ...children) {
  const wanted = children.flat(Infinity).filter(isShown);
  wanted.forEach((node, at) => {
    const next = typeof node === 'object' ? node : document.createTextNode(String(node));
    const here = parent.childNodes[at];
    if (!here) parent.append(next);
    else if (!isAlike(here, next)) parent.replaceChild(next, here);
    else change(here, next);
  });
  while (parent.childNodes.length > wanted.length) parent.lastChild.remove();
}

function isAlike(one, other) {
  return one.nodeType === other.nodeType && one.nodeName === other.nodeName
    && one.getAttribute?.('data-id') === other.getAttribute?.('data-id');
}

function change(here, wanted) {
  if (here.nodeType === Node.TEXT_NODE) {
    if (here.data !== wanted.data) here.data = wanted.data;
    return;
  }
  for (const { name } of [...here.attributes]) {
    if (!wanted.hasAttribute(name)) here.removeAttribute(name);
  }
  for (const { name, value } of wanted.attributes) {
    if (here.getAttribute(name) === value) continue;
    // Styles are not text to the policy of this page.
    if (name === 'style') here.style.cssText = wanted.style.cssText;
    else here.setAttribute(name, value);
  }
  for (const name of HANDLERS) here[name] = wanted[name];
  // What somebody is typing stays, and what was typed where nothing is kept.
  const isKept = wanted.hasAttribute('value') && here !== document.activeElement;
  if (isKept && here.value !== wanted.value) here.value = wanted.value;
  show(here, [...wanted.childNodes]);
}

/** A panel with a heading. */
export function panel(title, note, ...body) {
  return h('section', { class: 'panel' },
    h('div', { class: 'head' }, h('h2', {}, title), note && h('span', { class: 'note' }, note)),
    h('div', { class: 'body' }, body));
}

/** A figure with its name and what is to be said of it. */
export function tile(name, figure, note, state) {
  return h('section', { class: 'panel tile' },
    h('h2', { class: 'name' }, name),
    h('div', { class: 'figure' }, figure),
    h('div', { class: 'note' }, state ? h('span', { class: `pill ${state}` }, note) : note));
}

/** A table. `columns`: names, those of numbers with a `#` before them. */
export function table(columns, rows, nothing, kind) {
  if (rows.length === 0) return empty(nothing);
  const cells = (tag, texts) => texts.map((text, at) => {
    const column = columns[at];
    const side = column.startsWith('#') ? 'num' : column === '' ? 'act' : null;
    return h(tag, { class: side }, tag === 'th' ? column.replace('#', '') : text);
  });
  return h('div', { class: 'scroll' }, h('table', { class: kind },
    h('thead', {}, h('tr', {}, cells('th', columns))),
    h('tbody', {}, rows.map(row => h('tr', {}, cells('td', row))))));
}

/** What stands where there is nothing: what that means. */
export function empty([title, meaning]) {
  return h('p', { class: 'empty' }, h('b', {}, title), meaning);
}

/** Buttons of which one is pressed. */
export function segments(label, choices, chosen, choose) {
  return h('div', { class: 'segments', role: 'group', 'aria-label': label }, choices.map(([value, text]) =>
    h('button', { type: 'button', 'aria-pressed': String(value === chosen), onclick: () => choose(value) }, text)));
}

/** A bar that is so full, of 1. */
export function bar(share, label, state = '') {
  const percent = Math.max(0, Math.min(1, share || 0)) * 100;
  return h('div', { class: 'bar', role: 'img', 'aria-label': label, title: label },
    h('i', { class: state, style: { width: `${percent}%` } }));
}

/** Tells of something that was done, or failed. */
export function toast(text, isBad = false) {
  const node = h('div', { class: isBad ? 'toast bad' : 'toast' }, text);
  document.getElementById('toasts').append(node);
  setTimeout(() => node.remove(), isBad ? 9000 : 5000);
}
