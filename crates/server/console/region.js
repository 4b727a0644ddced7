// One Region: its replicas, and who leads it; and a button that changes that.

import { get, moveLeader } from './api.js';
import { h, show, table, toast } from './dom.js';
import { bytes, colour, count, key } from './format.js';

const dialog = document.getElementById('dialog');

/** Shows a Region, by its id. */
export async function openRegion(id) {
  const region = await get(`pd/region/id/${id}`);
  render(region);
  if (!dialog.open) dialog.showModal();
}

function render(region) {
  show(dialog,
    h('div', { class: 'head' },
      h('h2', { id: 'dialog-title' }, `Region ${region.id}`),
      h('button', { type: 'button', class: 'quiet', 'aria-label': 'Close', onclick: () => dialog.close() }, '✕')),
    h('div', { class: 'body' },
      h('dl', { class: 'facts' },
        fact('From', h('span', { class: 'key' }, key(region.start_key, 'the first key'))),
        fact('To', h('span', { class: 'key' }, key(region.end_key, 'the last key'))),
        fact('Epoch', `configuration ${region.epoch.conf_ver}, version ${region.epoch.version}`),
        fact('Holds', `about ${bytes(region.approximate_size_bytes)} in ${count(region.approximate_keys)} keys`),
        fact('Load', `${bytes(region.read_bytes_per_s)}/s read, ${bytes(region.written_bytes_per_s)}/s written`)),
      table(['Replica', 'Store', 'Role', 'State', ''], region.peers.map(peer => row(region, peer)), ['No replica', '']),
      h('p', { class: 'note' }, 'What a store itself knows of it: ',
        region.peers.map(peer => [h('a', { href: `/console/api/store/${peer.store_id}/region/${region.id}`, target: '_blank' }, `store ${peer.store_id}`), ' ']))));
}

const fact = (name, value) => [h('dt', {}, name), h('dd', {}, value)];

function row(region, peer) {
  const leads = region.leader?.id === peer.id;
  const is = list => region[list].some(other => other.id === peer.id);
  const state = is('quarantined_peers') ? ['bad', 'quarantined'] : is('down_peers') ? ['bad', 'down'] : is('pending_peers') ? ['warn', 'behind'] : ['good', 'well'];
  const canLead = !leads && peer.role_name === 'Voter' && state[0] === 'good';
  return [
    String(peer.id),
    [h('span', { class: 'dot', style: { background: colour(peer.store_id) } }), `store ${peer.store_id}`],
    leads ? h('b', {}, 'Leader') : peer.role_name,
    h('span', { class: `pill ${state[0]}` }, state[1]),
    canLead && h('button', { type: 'button', class: 'small', 'data-move': `${region.id}-${peer.store_id}`, onclick: event => lead(event.currentTarget, region, peer) }, 'Make leader'),
  ];
}

async function lead(button, region, peer) {
  button.disabled = true;
  button.textContent = 'Moving…';
  try {
    const now = await moveLeader(region.id, peer.store_id);
    toast(`Region ${region.id} is led by store ${peer.store_id} now.`);
    render(now);
  } catch (error) {
    toast(error.message, true);
    button.disabled = false;
    button.textContent = 'Make leader';
  }
}
