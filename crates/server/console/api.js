// Asking this node, which asks the others.

const PATIENCE_MS = 15_000;

async function ask(method, path, body) {
  const cancel = AbortSignal.timeout(PATIENCE_MS);
  const options = { method, signal: cancel, headers: {} };
  if (body !== undefined) {
    options.headers['Content-Type'] = 'application/json';
    options.body = JSON.stringify(body);
  }
  let answer;
  try {
    answer = await fetch(`/console/api/${path}`, options);
  } catch (error) {
    throw new Error(error.name === 'TimeoutError' ? 'this node takes too long to answer' : 'this node does not answer');
  }
  const text = await answer.text();
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    value = { error: text.trim() || `answered ${answer.status}` };
  }
  if (!answer.ok) throw new Error(value.error ?? `answered ${answer.status}`);
  return value;
}

export const get = path => ask('GET', path);
export const post = (path, body) => ask('POST', path, body);
export const del = path => ask('DELETE', path);

/** Several at once, by name; of those that fail the error. */
export async function all(paths) {
  const names = Object.keys(paths);
  const answers = await Promise.allSettled(names.map(name => get(paths[name])));
  return Object.fromEntries(names.map((name, at) => {
    const { value, reason } = answers[at];
    return [name, reason ? { error: reason.message } : value];
  }));
}

/** The stores, with what the console asks of them often. */
export async function stores() {
  const { stores } = await get('pd/stores');
  return stores
    .map(({ store, status }) => ({ ...store, ...status, state: store.state_name }))
    .filter(store => store.state !== 'Tombstone')
    .sort((one, other) => one.id - other.id);
}

/** Has a Region's leader be on this store. Done when it is. */
export async function moveLeader(region, store) {
  await post('pd/operators', { name: 'transfer-leader', region_id: region, to_store_id: store });
  for (let tries = 0; tries < 40; tries += 1) {
    const now = await get(`pd/region/id/${region}`);
    if (now.leader?.store_id === store) return now;
    await new Promise(done => setTimeout(done, 250));
  }
  throw new Error(`Region ${region} is not led by store ${store} yet: see the operators`);
}
