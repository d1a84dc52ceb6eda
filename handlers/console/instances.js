// The instances: all of them beside each other, and one with all that is known.

import { every, get, instancePath, now, post } from './api.js';
import { ask, bar, el, facts, note, patch, pill, table, tell } from './dom.js';
import { ago, age, many, number, percent, runState, sinkState, span, time, took, working } from './format.js';
import { progress } from './run.js';

const refreshEvery = 3000;

// Of more instances than these, the list is a long answer: it is asked for less often.
const manyInstances = 50;
const refreshManyEvery = 15_000;

// So many are shown at once: a page of more takes long to draw.
const someCards = 60;

// From so many on they can be filtered.
const worthAFilter = 5;

// From how many seconds on the System Log counts as left behind.
const logIsOld = 300;

// What was looked for: who comes back from an instance finds it again.
const sought = { text: '', troubled: false };

export async function instances(main, signal) {
  let all = [];
  let first = 0;
  const trouble = el('div');
  const cards = el('div', { class: 'cards' });
  const below = el('div', { class: 'buttons' });
  const count = el('span', { role: 'status', class: 'quiet' });
  const text = el('input', { id: 'sought', type: 'search', autocomplete: 'off', spellcheck: 'false', maxlength: '200', oninput: () => seek({ text: text.value }) });
  const troubled = el('input', { type: 'checkbox', onchange: () => seek({ troubled: troubled.checked }) });
  text.value = sought.text;
  troubled.checked = sought.troubled;
  const filter = el('form', { class: 'filter', role: 'search', hidden: true, onsubmit: (event) => event.preventDefault() },
    el('label', { for: 'sought' }, 'Name or id contains'), text,
    el('label', { class: 'check' }, troubled, 'Only those that need a look'), count);
  main.append(el('h1', null, 'Instances'), trouble, filter, cards, below);

  function seek(change) {
    Object.assign(sought, change);
    go(0);
  }
  function go(to) {
    first = to;
    draw();
    filter.scrollIntoView({ block: 'nearest' }); // a page is read from its top
  }
  function draw() {
    const words = sought.text.trim().toLowerCase();
    const found = all.filter((status) => [status.id, status.name, status.oktaOrgUrl].some((name) => name.toLowerCase().includes(words)) &&
      !(sought.troubled && isCalm(status)));
    if (first >= found.length) first = 0;
    const end = Math.min(first + someCards, found.length);
    patch(cards, found.slice(first, end).map(card));
    patch(count, all.length === 0 ? '' : found.length === 0 ? `None of ${number(all.length)} is like that`
      : `${number(first + 1)} to ${number(end)} of ${number(found.length)}${found.length < all.length ? `, found among ${number(all.length)}` : ''}`);
    patch(below,
      first > 0 ? el('button', { type: 'button', 'data-key': 'before', onclick: () => go(first - someCards) }, 'Page before') : null,
      end < found.length ? el('button', { type: 'button', 'data-key': 'next', onclick: () => go(end) }, 'Next page') : null);
  }

  await every(signal, async () => {
    try {
      const [answer, health] = await Promise.all([
        get('/admin/instances?fields=summary', signal),
        get('/healthz', signal).catch(() => ({})), // the instances tell enough without it
      ]);
      all = answer.instances;
      filter.hidden = all.length < worthAFilter && sought.text === '' && !sought.troubled;
      patch(trouble,
        (health.warnings ?? []).map((warning) => note('warn', warning)),
        all.length === 0 ? note('info', 'No instance is registered yet. An instance event does that: POST /v1/instance-events.') : null);
    } catch (err) {
      if (signal.aborted) return refreshEvery;
      patch(trouble, note('bad', err.message));
      all = []; // what it was before may be wrong by now
    }
    draw();
    return all.length > manyInstances ? refreshManyEvery : refreshEvery;
  });
}

const home = (id) => `#/instances/${encodeURIComponent(id)}`;

function card(status) {
  return el('article', { class: 'card', 'data-key': status.id },
    el('h2', null, el('a', { href: home(status.id) }, status.name || status.id)),
    el('p', { class: 'quiet' }, el('bdi', null, status.id), ` · ${host(status.oktaOrgUrl)}`),
    el('p', { class: 'pills' }, pills(status)),
    problems(status),
    facts(summary(status)));
}

const host = (url) => url.replace(/^https?:\/\//, '');

// pills say in a word each what matters most.
function pills(status) {
  return [
    status.whole ? pill('ok', 'whole') : pill('warn', 'not whole yet'),
    status.paused ? pill('warn', 'paused') : null,
    !status.owner && !status.paused ? pill('bad', 'nobody works for it') : null,
    status.held > 0 ? pill('warn', `${number(status.held)} held`) : null,
    status.problem || status.log.problem ? pill('bad', 'problem') : null,
  ];
}

function problems(status) {
  return [
    status.problem ? note('bad', status.problem) : null,
    status.log.problem ? note('bad', status.log.problem) : null,
    status.hook?.problem ? note('warn', status.hook.problem) : null,
    Object.entries(status.sinks ?? {}).map(([name, sink]) => (sink.error ? note('warn', `${name}: ${sink.error}`) : null)),
  ];
}

// isCalm tells that an instance works, and waits for nobody.
const isCalm = (status) => status.whole && status.owner && !status.paused && !(status.held > 0) && !(status.deadLetters > 0) &&
  problems(status).flat().every((problem) => problem === null);

function summary(status) {
  const covered = coverage(status);
  const run = status.lastRun;
  return [
    ['System Log read up to', freshness(status)],
    ['Delay of hook events', covered.delay],
    ['Came by hook first', covered.share],
    ['Events not yet applied', number(status.inbox)],
    ['Objects to read again', number(status.refreshes)],
    ['Sinks', Object.entries(status.sinks ?? {}).map(([name, sink]) => sinkLine(name, sink))],
    ['Event hook', hook(status.hook)],
    ['Drift', drift(status.drift)],
    ['Rate limit, tightest', tightest(status.rateLimits), atRest(status)],
    ['Held', status.held > 0 ? [many(status.held, 'object'), holders(status)] : number(status.held)],
    ['Dead letters', status.deadLetters > 0 ? el('a', { href: `${home(status.id)}/dead-letters` }, number(status.deadLetters)) : '0'],
    ['Last run', run ? [runState(run.state), ' ', el('a', { href: runLink(run) }, run.mode), ' ', ago(run.endedAt ?? run.startedAt)] : 'none yet'],
  ];
}

export const runLink = (run) => `#/runs/${encodeURIComponent(run.id)}`;

// holders lead to the runs that hold something: the last run may be none of them.
function holders(status) {
  return (status.holding ?? []).map((id) => el('a', { class: 'line', href: runLink({ id }) }, id));
}

function freshness(status) {
  const at = status.log.readUpTo;
  const text = ago(at);
  return at && age(at) > logIsOld ? [text, ' ', pill('bad', 'behind')] : text;
}

// coverage says of the types that Okta can send by hook how many events came so,
// and how late.
function coverage(status) {
  let hooked = 0, logged = 0, late = 0, sum = 0, most = 0;
  for (const c of Object.values(status.coverage ?? {})) {
    if (!c.hookEligible) continue;
    hooked += c.hook;
    logged += c.log;
    late += c.late;
    sum += c.hookDelaySum;
    most = Math.max(most, c.hookDelayMax);
  }
  const all = hooked + logged;
  return {
    share: all === 0 ? 'no event yet' : `${percent(hooked, all)} of ${many(all, 'event')}${late > 0 ? `, ${number(late)} late` : ''}`,
    delay: hooked === 0 ? 'no event yet' : `${span(sum / hooked / 1000)} mean, ${span(most / 1000)} at most`,
  };
}

const sinkLine = (name, sink) => el('span', { class: 'line' }, sinkState(sink.state), ` ${name}, lag ${span(sink.lagSeconds)}`);

function hook(h) {
  if (!h?.checkedAt || h.unknown) return h?.unknown ? `unknown: ${h.unknown}` : 'unknown';
  const line = (text) => el('span', { class: 'line' }, text);
  return [
    h.status ? pill(h.problem ? 'warn' : 'ok', [h.status, h.verificationStatus].filter(Boolean).join(', ').toLowerCase()) : pill('bad', 'none found'),
    ' checked ', ago(h.checkedAt),
    h.missing?.length > 0 ? line(`not subscribed to ${many(h.missing.length, 'type')}${h.problem ? '' : ', which this org need not offer'}`) : null,
    h.filtered ? line('a filter keeps some events from it: they come by the log') : null,
  ];
}

function drift(d) {
  if (!d) return 'unknown: no verify yet';
  return [d.total > 0 ? pill('warn', many(d.total, 'record')) : pill('ok', 'none'), ' verified ', ago(d.at)];
}

// A limit is told as Okta's answers do: what is used of it, by whomever. Once its
// window is over, all of it is free again.
const used = (limit) => {
  if (!(limit.limit > 0) || limit.remaining == null) return null;
  return isOver(limit) ? 0 : limit.limit - limit.remaining;
};

const isOver = (limit) => !limit.resetAt || Date.parse(limit.resetAt) < now();

// atRest says why no answer of Okta tells anything new.
function atRest(status) {
  const why = status.paused ? 'paused' : status.owner ? null : 'nobody works for it';
  return why && el('span', { class: 'line' }, `${why}: Okta is not asked`);
}

function tightest(limits) {
  const known = (limits ?? []).filter((limit) => used(limit) != null);
  if (known.length === 0) return 'unknown';
  const most = known.reduce((a, b) => (used(a) / a.limit >= used(b) / b.limit ? a : b));
  return limitLine(most, true);
}

function limitLine(limit, named) {
  const label = `${limit.bucket}: used of the limit`;
  if (used(limit) == null) return 'unknown';
  return [bar(label, used(limit), limit.limit), el('span', { class: 'line' },
    `${named ? `${limit.bucket}: ` : ''}${number(used(limit))} of ${number(limit.limit)} used`)];
}

// tabs lead to the pages of an instance.
export function tabs(id, current) {
  return el('nav', { class: 'tabs', 'aria-label': `Pages of ${id}` }, [
    ['', 'Overview'], ['/changes', 'Changes'], ['/query', 'Query'], ['/dead-letters', 'Dead letters'],
  ].map(([path, name]) => el('a', { href: home(id) + path, 'aria-current': name === current ? 'page' : null }, name)));
}

// instance shows all of one instance, and takes orders for it.
export async function instance(main, signal, id) {
  const orders = el('div', { class: 'buttons' });
  const outcome = el('div'); // of the last order
  const content = el('div');
  main.append(el('h1', null, id), tabs(id, 'Overview'), orders, outcome, content);
  const path = instancePath(id);

  const draw = async () => {
    try {
      const [status, { runs }] = await Promise.all([get(path, signal), get(`${path}/runs`, signal)]);
      patch(orders,
        el('button', { type: 'button', class: 'main', 'data-key': 'resync', onclick: () => act(resync) }, 'Resync …'),
        status.paused
          ? el('button', { type: 'button', 'data-key': 'pause', onclick: () => act(resume) }, 'Resume')
          : el('button', { type: 'button', 'data-key': 'pause', onclick: () => act(pause) }, 'Pause …'),
        el('button', { type: 'button', 'data-key': 'snapshot', onclick: () => act(() => snapshot(status)) }, 'Snapshot …'));
      patch(content, details(status, runs));
    } catch (err) {
      if (!signal.aborted) patch(content, note('bad', err.message));
    }
    return refreshEvery;
  };
  // What came of an order stands beside the buttons until the next one.
  const act = async (order) => {
    patch(outcome);
    try {
      await order();
    } catch (err) {
      if (!signal.aborted) patch(outcome, note('bad', err.message));
    }
    if (!signal.aborted) await draw();
  };

  async function resync() {
    const fields = await ask({ title: `Resync ${id}`, confirm: 'Start', body: [
      el('label', { for: 'mode' }, 'Mode'),
      el('select', { id: 'mode', name: 'mode' }, [
        ['full', 'full: read everything'],
        ['sweep', 'sweep: all lists, and below them what moved'],
        ['incremental', 'incremental: what changed since'],
        ['verify', 'verify: read everything, change nothing'],
      ].map(([value, text]) => el('option', { value }, text))),
      el('label', { for: 'object' }, 'Only this object (optional)'),
      el('input', { id: 'object', name: 'object', placeholder: 'user/00u…', maxlength: '256', autocomplete: 'off', spellcheck: 'false', 'aria-describedby': 'object-hint' }),
      el('p', { id: 'object-hint', class: 'quiet' }, 'A record or scope, as user/00u…, group/00g…, app/0oa…, members/00g…, users, groups, apps.'),
      el('label', { class: 'check' }, el('input', { type: 'checkbox', name: 'force' }), 'Lift the brake: delete without asking, however much is gone'),
    ] });
    if (!fields) return;
    const { id: started } = await post(`${path}/resync`, fields);
    location.hash = `#/runs/${encodeURIComponent(started)}`;
  }

  async function pause() {
    const sure = await ask({ title: `Pause ${id}?`, confirm: 'Pause', body:
      el('p', null, 'Events are still accepted and kept, but not applied. Nothing is read from Okta until somebody resumes.') });
    if (!sure) return;
    await post(`${path}/pause`);
    tell(outcome, `${id} is paused.`);
  }

  async function resume() {
    await post(`${path}/resume`);
    tell(outcome, `${id} is resumed.`);
  }

  async function snapshot(status) {
    const names = Object.keys(status.sinks ?? {});
    const fields = await ask({ title: 'Give sinks a snapshot', confirm: 'Order it', body: [
      el('label', { for: 'sink' }, 'Sink'),
      el('select', { id: 'sink', name: 'sink' }, el('option', { value: '' }, 'all'), names.map((name) => el('option', { value: name }, name))),
      el('label', { class: 'check' }, el('input', { type: 'checkbox', name: 'force' }), 'Lift the guard of the sink against losing much at once'),
    ] });
    if (!fields) return;
    await post(`${path}/snapshot`, fields);
    tell(outcome, 'The snapshot is ordered.');
  }

  await every(signal, draw);
}

function details(status, runs) {
  const run = status.lastRun;
  return [
    el('p', { class: 'quiet', 'data-key': 'host' }, el('bdi', null, status.name), ` · ${host(status.oktaOrgUrl)}`),
    el('p', { class: 'pills', 'data-key': 'pills' }, pills(status)),
    el('div', { 'data-key': 'problems' }, problems(status)),
    working(run) ? section('now', 'The run at work', progress(run), el('p', null, el('a', { href: runLink(run) }, 'All of this run'))) : null,
    status.held > 0 ? note('warn', `${many(status.held, 'object')} ${status.held === 1 ? 'is' : 'are'} held. Look at what each run holds, and decide:`, holders(status)) : null,
    section('state', 'State', facts([
      ...summary(status),
      ['Works for it', status.owner || 'nobody'],
      ['MFA factors', status.factors ? 'are read' : 'are not read'],
      ['Changes kept', number(status.changes)],
      ['Dead letters ever', number(status.deadLettersEver)],
      ['Log polls', number(status.log.polls)],
      ['Times the log’s place was lost', number(status.log.restarts)],
    ])),
    section('records', 'Records present', facts(Object.entries(status.records ?? {}).sort().map(([kind, n]) => [kind, number(n)]))),
    section('sinks', 'Sinks', table('Sinks', ['Sink', 'State', 'Lag', 'Delivered', 'Changes', 'Snapshots', 'Failures'],
      Object.entries(status.sinks ?? {}).map(([name, sink]) => [name, sinkState(sink.state), span(sink.lagSeconds), ago(sink.deliveredAt),
        number(sink.changes), number(sink.snapshots), number(sink.failures)]), 'No sink is configured.')),
    section('limits', 'Rate limits', el('p', null, atRest(status)), table('Rate limits', ['Bucket', 'Used', 'Our share', 'Calls', 'Window ends'],
      (status.rateLimits ?? []).map((limit) => [limit.bucket, limitLine(limit, false),
        limit.share == null ? 'unknown' : percent(limit.share, 1), number(limit.calls), isOver(limit) ? 'it is over' : time(limit.resetAt)]),
      'Unknown: no answer of Okta has told them yet.')),
    section('drift', 'Drift', status.drift
      ? [el('p', null, 'What the last verify found that events had missed: ', drift(status.drift),
        status.drift.silent > 0 ? `; ${many(status.drift.silent, 'difference')} of which Okta tells no event` : ''),
      facts(Object.entries(status.drift.kinds ?? {}).sort().map(([kind, n]) => [kind, number(n)]))]
      : el('p', { class: 'quiet' }, 'Unknown: no verify has ended yet.')),
    section('coverage', 'Coverage by event hooks', table('Coverage by event hooks',
      ['Event type', 'By hook first', 'By log first', 'Late', 'Hook delay', 'Log delay'],
      Object.entries(status.coverage ?? {}).sort(([a], [b]) => (a < b ? -1 : 1)).map(([type, c]) => [
        [el('code', null, type), c.hookEligible ? '' : [' ', pill('plain', 'log only')]], number(c.hook), number(c.log), number(c.late),
        delay(c.hookDelaySum, c.hook, c.hookDelayMax), delay(c.logDelaySum, c.log, c.logDelayMax)]), 'No event has come yet.')),
    section('runs', 'Runs', table('Runs, newest first', ['Run', 'State', 'Mode', 'Trigger', 'Started', 'Took', 'Changes'],
      runs.map((r) => Object.assign([el('a', { href: runLink(r) }, r.id), runState(r.state), [r.mode, r.object ? ` ${r.object}` : '', r.force ? ', forced' : ''],
        r.trigger, time(r.startedAt), took(r), number(r.changes)], { key: r.id })), 'No run yet.')),
  ];
}

const delay = (sum, n, most) => (n > 0 ? `${span(sum / n / 1000)}, max ${span(most / 1000)}` : '–');

const section = (key, title, ...content) => el('section', { 'data-key': key }, el('h2', null, title), content);
