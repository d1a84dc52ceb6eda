// Dead letters: events that could not be understood.

import { get, instancePath, post } from './api.js';
import { ask, el, note, patch, table, tell } from './dom.js';
import { many, number, time } from './format.js';
import { tabs } from './instances.js';

export async function deadLetters(main, signal, id) {
  const path = `${instancePath(id)}/dead-letters`;
  const failed = el('div');
  const content = el('div');
  const event = el('section', { hidden: true });
  main.append(el('h1', null, `Dead letters of ${id}`), tabs(id, 'Dead letters'), failed, content, event);

  let letters = [];
  async function load(after) {
    const asked = new URLSearchParams({ limit: '100' });
    if (after) asked.set('after', after);
    const { deadLetters: page } = await get(`${path}?${asked}`, signal);
    letters = after ? [...letters, ...page] : page;
    draw(page.length === 100);
  }

  function draw(more) {
    patch(content,
      el('p', null, 'Oldest first. The next full reconcile repairs what these events meant. After an update that understands them, replay them.'),
      table('Dead letters', ['Came', 'Event type', 'Why it was not understood', 'Event', 'Replay'], letters.map((letter) => Object.assign([
        time(letter.at), el('code', null, letter.eventType || 'unknown'), letter.reason,
        el('button', { type: 'button', onclick: () => act(() => show(letter)), 'aria-label': `Show the event of ${letter.id}` }, 'Show'),
        el('button', { type: 'button', onclick: () => act(() => replay([letter.id])), 'aria-label': `Replay ${letter.id}` }, 'Replay'),
      ], { key: letter.id })), 'There are none.'),
      more ? el('button', { type: 'button', onclick: () => act(() => load(letters.at(-1).id)) }, 'Show more') : null,
      letters.length > 0 ? el('div', { class: 'buttons' }, el('button', { type: 'button', class: 'main', onclick: () => act(replayAll) }, 'Replay all …')) : null);
  }

  // The event as Okta sent it names people: it is fetched only when asked for.
  async function show(letter) {
    const full = await get(`${path}/${encodeURIComponent(letter.id)}`, signal);
    event.hidden = false;
    const text = typeof full.event === 'string' ? full.event : JSON.stringify(full.event, null, 2);
    patch(event, el('h2', { id: 'event', tabindex: '-1' }, `The event of ${letter.id}`),
      note('info', 'It is shown as Okta sent it, and may name people.'),
      el('div', { class: 'scroll', role: 'region', tabindex: '0', 'aria-label': 'The event' }, el('pre', null, text)));
    document.getElementById('event').focus();
  }

  async function replay(ids) {
    const { replayed, failed: still } = await post(`${path}/replay`, ids ? { ids } : {});
    tell(failed, `${many(replayed, 'event')} went back to the inbox, ${number(still)} still cannot be understood.`);
    event.hidden = true;
    patch(event);
    await load();
  }

  async function replayAll() {
    const sure = await ask({ title: 'Replay all dead letters?', confirm: 'Replay all', body: el('p', null, 'Those that are understood now go back to the inbox; the others stay.') });
    if (sure) await replay();
  }

  async function act(order) {
    patch(failed);
    try {
      await order();
    } catch (err) {
      if (!signal.aborted) patch(failed, note('bad', err.message));
    }
  }
  await act(() => load());
}
