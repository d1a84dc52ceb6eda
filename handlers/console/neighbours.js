// The neighbourhood of an object: who reaches this application and through which
// group, what a user reaches, who is in a group.

import { query } from './api.js';
import { el, note, patch, table } from './dom.js';
import { many, objectLink } from './format.js';
import { tabs } from './instances.js';
import { nameOf, picture } from './picture.js';
import { properties } from './queries.js';

// So many users, and so many ways to them, are asked for.
const someUsers = 100;
const someWays = 600;

export async function neighbourhood(main, signal, id, key) {
  const title = el('h1', null, 'Neighbourhood');
  const content = el('div');
  main.append(title, tabs(id, ''), content);

  // ask returns the rows of a query; each cell that is an object comes as it is.
  const ask = async (text, more) => (await query(id, { query: text, parameters: { key, ...more }, limit: 1000 }, signal)).data;

  const found = await ask('Find * with _key = ${key}');
  if (signal.aborted) return;
  if (found.length === 0) {
    patch(content, note('warn', `The database holds no object with the key ${key}: it was deleted, or was not delivered yet.`));
    return;
  }
  const center = found[0].entity;
  const type = center._type[0];
  title.replaceChildren(nameOf(center));
  document.title = `\u2068${nameOf(center)}\u2069 · ${id} · oktasync`; // isolated: a name may turn the direction
  content.append(
    el('p', { class: 'quiet' }, `${type} `, el('code', null, key)),
    properties(found[0].properties));
  const place = el('div');
  if (type === 'okta_application' || center._class.includes('UserGroup')) {
    content.append(filter((text) => draw(text)));
  }
  content.append(place);

  let round = 0;
  async function draw(text) {
    const mine = ++round; // an answer that comes after the next question is not shown
    place.setAttribute('aria-busy', 'true');
    try {
      const part = await around(ask, center, type, text);
      if (signal.aborted || mine !== round) return;
      const shown = el('div', null, part.notes.map((words) => note('warn', words)));
      place.replaceChildren(shown);
      await picture(shown, signal, id, { nodes: [...part.nodes.values()], edges: part.edges, center: key, label: `Neighbourhood of ${nameOf(center)}` });
      shown.append(inWords(id, part, center));
    } catch (err) {
      if (signal.aborted || mine !== round) return;
      place.replaceChildren(note('bad', `The neighbourhood cannot be shown: ${err.message}`));
    } finally {
      if (mine === round) place.removeAttribute('aria-busy');
    }
  }
  await draw('');
}

// filter lets a large neighbourhood be narrowed to the users one looks for.
function filter(change) {
  return el('form', { class: 'filter', onsubmit: (event) => {
    event.preventDefault();
    change(event.target.elements.name.value.trim());
  } },
  el('label', { for: 'name' }, 'Users whose name contains'),
  el('input', { id: 'name', name: 'name', autocomplete: 'off', spellcheck: 'false', maxlength: '200' }),
  el('button', { type: 'submit' }, 'Show'));
}

// around asks for what is near an object. An edge is direct if it is that of a
// user to an application, and none of the groups between them was found.
async function around(ask, center, type, text) {
  const part = { nodes: new Map([[center._key, center]]), edges: [], notes: [] };
  const seen = new Set();
  const add = (row) => {
    for (const cell of Object.values(row)) {
      if (cell?.entity) part.nodes.set(cell.id, cell.entity);
      else if (cell?.relationship && !seen.has(cell.id)) {
        seen.add(cell.id);
        part.edges.push({ ...cell.relationship });
      }
    }
  };
  const who = text === '' ? 'okta_user as u' : 'okta_user with displayName ~= ${text} as u';
  const more = text === '' ? {} : { text };

  if (type === 'okta_application') {
    const [groups, ways, users, [{ n }]] = await Promise.all([
      ask('Find okta_application with _key = ${key} that ASSIGNED as e UserGroup as g return g, e'),
      ask(`Find okta_application with _key = \${key} that ASSIGNED UserGroup as g that HAS as e ${who} return u, e, g order by u._key limit ${someWays}`, more),
      ask(`Find okta_application with _key = \${key} that ASSIGNED as e ${who} return u, e order by u._key limit ${someUsers}`, more),
      ask(`Find okta_application with _key = \${key} that ASSIGNED ${who} return count(u) as n`, more),
    ]);
    // Both lists are in the order of the users: up to where the shorter one ends
    // it is known of each user which groups lead here.
    const end = ways.length === someWays ? ways.at(-1).u.id : null;
    const known = users.filter((row) => end === null || row.u.id < end);
    const shown = new Set(known.map((row) => row.u.id));
    const through = new Set();
    for (const row of ways) {
      if (!shown.has(row.u.id)) continue;
      through.add(row.u.id);
      add(row);
    }
    for (const row of known) {
      part.nodes.set(row.u.id, row.u.entity);
      if (through.has(row.u.id)) continue;
      add(row);
      part.edges.at(-1).direct = true;
    }
    // Last, since a picture leaves out what comes last: groups of which nobody is shown.
    groups.sort((a, b) => part.nodes.has(b.g.id) - part.nodes.has(a.g.id)).forEach(add);
    if (n > known.length) part.notes.push(`${many(known.length, 'user')} of ${many(n, 'user')} are shown. Narrow them down by name.`);
    return part;
  }
  if (center._class.includes('UserGroup')) {
    const [users, apps, [{ n }]] = await Promise.all([
      ask(`Find UserGroup with _key = \${key} that HAS as e ${who} return u, e order by u._key limit ${someUsers}`, more),
      ask('Find UserGroup with _key = ${key} that ASSIGNED as e okta_application as a return a, e limit 150'),
      ask(`Find UserGroup with _key = \${key} that HAS ${who} return count(u) as n`, more),
    ]);
    [...users, ...apps].forEach(add);
    if (n > users.length) part.notes.push(`${many(users.length, 'user')} of ${many(n, 'user')} are shown. Narrow them down by name.`);
    return part;
  }
  // One question for each direction: of both at once the database makes a scan.
  const near = (await Promise.all(['>>', '<<'].map((direction) =>
    ask(`Find * with _key = \${key} that RELATES TO as e ${direction} * as n return n, e limit ${someUsers + 1}`)))).flat();
  if (near.length > someUsers) part.notes.push(`More than ${many(someUsers, 'object')} are tied to this one: ${someUsers} of them are shown.`);
  near.slice(0, someUsers).forEach(add);
  if (type === 'okta_user') {
    const [apps, ways] = await Promise.all([
      ask('Find okta_user with _key = ${key} that ASSIGNED as e okta_application as a return a, e limit 150'),
      ask(`Find okta_user with _key = \${key} that HAS UserGroup as g that ASSIGNED as e okta_application as a return g, e, a limit ${someWays}`),
    ]);
    // That a group of its leads to an application is no access: a deactivated user
    // has none. Okta assigns to each user what it reaches, through a group or not.
    const reached = new Set(apps.map((row) => row.a.id));
    const used = ways.filter((row) => reached.has(row.a.id));
    const through = new Set(used.map((row) => row.a.id));
    [...apps, ...used].forEach(add);
    // An application that a group leads to is drawn behind the group.
    part.edges = part.edges.filter((e) => !(e._fromEntityKey === center._key && through.has(e._toEntityKey)));
    for (const e of part.edges) e.direct = e._type === 'okta_user_assigned_application';
    if (ways.length === someWays) part.notes.push('It reaches applications through so many groups that some are left out.');
  }
  return part;
}

// inWords says what the picture shows.
function inWords(id, part, center) {
  const link = (key) => el('a', { href: objectLink(id, key) }, nameOf(part.nodes.get(key)));
  const type = center._type[0];
  const edgesFrom = (key, kind) => part.edges.filter((e) => e._fromEntityKey === key && (!kind || e._type === kind));
  const byName = (a, b) => nameOf(a).localeCompare(nameOf(b));
  const list = (keys) => keys.map((key, i) => [i > 0 ? ', ' : '', link(key)]);

  if (type === 'okta_application') {
    const groups = [...part.nodes.values()].filter((n) => n._class.includes('UserGroup')).sort(byName);
    const users = [...part.nodes.values()].filter((n) => n._class.includes('User')).sort(byName);
    const through = (user) => part.edges.filter((e) => e._type === 'okta_group_has_user' && e._toEntityKey === user._key).map((e) => e._fromEntityKey);
    return el('div', null,
      heading('Groups it is assigned to'), table('Groups it is assigned to', ['Group', 'Users shown'], groups.map((g) => [link(g._key), String(edgesFrom(g._key, 'okta_group_has_user').length)]), 'No group is assigned to it.'),
      heading('Users who reach it'), table('Users who reach it', ['User', 'Through'], users.map((u) => [link(u._key), through(u).length > 0 ? list(through(u)) : 'directly, without a group']), 'No user reaches it.'));
  }
  if (type === 'okta_user') {
    const apps = [...part.nodes.values()].filter((n) => n._class.includes('Application')).sort(byName);
    const through = (app) => part.edges.filter((e) => e._type === 'okta_group_assigned_application' && e._toEntityKey === app._key).map((e) => e._fromEntityKey);
    const others = part.edges.filter((e) => [e._fromEntityKey, e._toEntityKey].includes(center._key) && e._type !== 'okta_user_assigned_application');
    return el('div', null,
      heading('Applications it reaches'), table('Applications it reaches', ['Application', 'Through'], apps.map((a) => [link(a._key), through(a).length > 0 ? list(through(a)) : 'directly, without a group']), 'It reaches no application.'),
      relations('What else it is tied to', others, link));
  }
  return el('div', null, relations('What it is tied to', part.edges, link));
}

const heading = (text) => el('h2', null, text);

const relations = (caption, edges, link) => [heading(caption), table(caption, ['From', 'Relationship', 'To'],
  edges.map((e) => [link(e._fromEntityKey), e._class, link(e._toEntityKey)]), 'Nothing.')];
