// The frame: which page is shown, how often it asks, and what is said when nobody answers.

import { h, show } from './dom.js';
import { begin } from './series.js';
import * as overview from './overview.js';
import * as stores from './stores.js';
import * as regions from './regions.js';
import * as hot from './hot.js';
import * as operators from './operators.js';
import * as actors from './actors.js';
import * as logs from './logs.js';
import * as config from './config.js';

/** Each has a title, how often it asks (ms), `load()` and `view(data, ui)`. */
const PAGES = { overview, stores, regions, hot, operators, actors, logs, config };
const THEMES = ['auto', 'light', 'dark'];

const main = document.getElementById('page');
const trouble = document.getElementById('trouble');
const pulse = document.getElementById('pulse');

let current = null;
let data = null;
let timer = 0;
/** Of the question under way: an answer to an older one is not shown. */
let asked = 0;

function navigate() {
  const name = location.hash.replace(/^#\/?/, '').split('?')[0];
  const next = PAGES[name] ? name : 'overview';
  if (next === current) return render();
  current = next;
  data = null;
  show(document.getElementById('nav'), Object.entries(PAGES).map(([id, page]) =>
    h('a', { href: `#/${id}`, 'aria-current': id === current && 'page' }, page.title)));
  document.title = `${PAGES[current].title} – Kontiki`;
  main.replaceChildren();
  show(main, h('div', { class: 'title' }, h('h1', {}, PAGES[current].title)), h('div', { class: 'bones', 'aria-label': 'loading' }));
  ask();
}

async function ask() {
  clearTimeout(timer);
  const mine = ++asked;
  const page = PAGES[current];
  if (!document.hidden) {
    try {
      const answer = await page.load();
      if (mine !== asked) return;
      data = answer;
      complain(null);
    } catch (error) {
      if (mine !== asked) return;
      complain(error);
    }
    render();
  }
  timer = setTimeout(ask, page.every);
}

function render() {
  if (data !== null) show(main, PAGES[current].view(data, UI));
  main.setAttribute('data-ready', data === null ? 'no' : current);
}

/** What a page may do: show the same data in another way, and ask at once. */
const UI = { redraw: () => render(), again: () => ask() };

/** What is shown may be old, and why. */
function complain(error) {
  trouble.hidden = error === null;
  if (error) show(trouble, h('b', {}, 'No answer. '), `${error.message}. What is shown may be old; asking again.`);
}

function hear(error) {
  pulse.textContent = error ? 'no answer' : 'live';
  pulse.className = error ? 'pill bad' : 'pill good';
  pulse.title = error?.message ?? 'asked every two seconds';
  // Its lines go on.
  if (current === 'overview') render();
}

function paint(theme) {
  const root = document.documentElement;
  if (theme === 'auto') root.removeAttribute('data-theme');
  else root.setAttribute('data-theme', theme);
  const button = document.getElementById('theme');
  const words = { auto: 'as the system', light: 'light', dark: 'dark' }[theme];
  button.textContent = { auto: '◐', light: '☀', dark: '☾' }[theme];
  button.setAttribute('aria-label', `Colours: ${words}`);
  button.title = `Colours: ${words}`;
  try {
    localStorage.setItem('theme', theme);
  } catch {
    // Without a place to keep it, it holds for now.
  }
}

function kept() {
  try {
    return localStorage.getItem('theme');
  } catch {
    return null;
  }
}

let theme = THEMES.includes(kept()) ? kept() : 'auto';
paint(theme);
document.getElementById('theme').onclick = () => {
  theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
  paint(theme);
};
window.addEventListener('hashchange', navigate);
document.addEventListener('visibilitychange', () => document.hidden || ask());
begin(hear);
navigate();
