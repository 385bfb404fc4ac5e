// The panel in the page's corner. It lives in a shadow tree with a sheet of its own, so that neither the page's styles nor a
// Content-Security-Policy on styles gets at it, and on the root element, where page swaps (Turbo and its kin) leave it be.

const titles = { classic: 'Web Widget (Classic)', messaging: 'Messaging', chat: 'Chat' };

const css = `
:host { all: initial; position: fixed; right: 20px; bottom: 20px; z-index: 2147483000; color-scheme: light; }
* { box-sizing: border-box; margin: 0; font: 13px/1.45 system-ui, "Segoe UI", Roboto, sans-serif; }
.card { width: 324px; max-width: calc(100vw - 40px); max-height: calc((100vh - 40px) / var(--larger, 1)); zoom: var(--larger, 1); color: #1f2a37; background: #fff; border-radius: 14px; overflow: auto;
  box-shadow: 0 0 0 1px rgb(15 23 42 / 8%), 0 12px 32px rgb(15 23 42 / 22%); }
header { display: flex; align-items: center; gap: 10px; padding: 11px 14px; color: #fff; background: #03363d; }
header b { font-weight: 600; flex: 1; }
header small { display: block; font-size: 11px; opacity: .72; font-weight: 400; }
button { border: 0; background: none; color: inherit; cursor: pointer; }
header button { font-size: 17px; line-height: 1; padding: 4px 7px; border-radius: 6px; }
header button:hover { background: rgb(255 255 255 / 14%); }
.card.small main { display: none; }
.visitor { display: flex; gap: 12px; padding: 14px; align-items: center; }
.face { flex: none; width: 42px; height: 42px; border-radius: 50%; display: grid; place-items: center; font-size: 15px;
  font-weight: 600; color: #fff; background: #94a3b8; position: relative; }
.authenticated .face { background: #17494d; }
.authenticated .face::after { content: "\\2713"; position: absolute; right: -6px; bottom: -4px; width: 18px; height: 18px;
  border-radius: 50%; border: 2px solid #fff; background: #038153; font-size: 10px; line-height: 14px; text-align: center; }
.connecting .face { opacity: .5; }
.name { font-size: 15px; font-weight: 600; overflow-wrap: anywhere; }
.status { font-size: 12px; color: #64748b; }
.authenticated .status { color: #038153; }
dl { display: grid; grid-template-columns: 84px 1fr; gap: 2px 8px; padding: 0 14px 12px; }
dt { color: #64748b; } dd { overflow-wrap: anywhere; }
.chat { padding: 0 14px; max-height: 116px; overflow: auto; display: flex; flex-direction: column; gap: 5px; align-items: flex-end; }
.chat p { background: #e6f0ef; border-radius: 12px 12px 3px 12px; padding: 5px 10px; overflow-wrap: anywhere; max-width: 88%; }
form { display: flex; padding: 10px 14px; gap: 8px; }
input { flex: 1; min-width: 0; padding: 7px 11px; border: 1px solid #cbd5e1; border-radius: 18px; outline: none; }
input:focus { border-color: #17494d; box-shadow: 0 0 0 2px rgb(23 73 77 / 20%); }
form button { padding: 0 13px; border-radius: 18px; background: #17494d; color: #fff; font-weight: 600; }
ol { list-style: none; padding: 8px 14px 10px; max-height: 96px; overflow: auto; background: #f6f8fa; border-top: 1px solid #e5e9ee; }
li { font: 11px/1.55 ui-monospace, Menlo, Consolas, monospace; color: #475569; overflow-wrap: anywhere; }
`;

function element(name, className, ...children) {
  const e = document.createElement(name);
  if (className) e.className = className;
  for (const child of children) e.appendChild(typeof child === 'string' ? document.createTextNode(child) : child);
  return e;
}

function replace(parent, children) {
  while (parent.firstChild) parent.removeChild(parent.firstChild);
  for (const child of children) parent.appendChild(child);
}

function initials(name) {
  const parts = name.trim().split(/\s+/);
  const first = (part) => String.fromCodePoint(part.codePointAt(0) || 63);
  return (first(parts[0]) + (parts.length > 1 ? first(parts[parts.length - 1]) : '')).toUpperCase();
}

function rows(agent) {
  const all = [['E-mail', agent.email], ['External ID', agent.id], ['Help Center', agent.helpCenter]];
  const out = [];
  for (const [label, value] of all) {
    if (value) out.push(element('dt', '', label), element('dd', '', value));
  }
  return out;
}

function attach(agent) {
  const host = document.createElement('stand-in-widget');
  const root = host.attachShadow({ mode: 'open' });
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(css);
  root.adoptedStyleSheets = [sheet];

  const face = element('div', 'face');
  const name = element('div', 'name');
  const status = element('div', 'status');
  const details = element('dl');
  const chat = element('div', 'chat');
  const input = element('input');
  input.placeholder = 'Write as the visitor';
  input.setAttribute('aria-label', input.placeholder);
  const form = element('form', '', input, element('button', '', 'Send'));
  const log = element('ol');
  const fold = element('button');
  fold.type = 'button';
  const visitor = element('div', 'visitor', face, element('div', '', name, status));
  const main = element('main', '', visitor, details, chat, form, log);
  const title = element('b', '', 'What the agent sees', element('small', '', titles[agent.widget] + ', stand-in'));
  const card = element('section', 'card', element('header', '', title, fold), main);
  root.appendChild(card);

  const foldStore = createStore('folded'); // the next page is to stay as uncovered
  function show(folded) {
    card.classList.toggle('small', folded);
    fold.textContent = folded ? '+' : '–';
    fold.setAttribute('aria-label', folded ? 'Unfold' : 'Fold');
    fold.setAttribute('aria-expanded', String(!folded));
  }
  fold.addEventListener('click', function () {
    const folded = !card.classList.contains('small');
    foldStore.save(folded ? ['yes'] : []);
    show(folded);
  });
  show(foldStore.load()[0] === 'yes');

  // Phones lay out pages of old at three times their own width, and nobody could read this.
  function fit() {
    const larger = matchMedia('(pointer: coarse)').matches ? Math.min(innerWidth / screen.width, 3) : 1;
    host.style.setProperty('--larger', larger > 1.2 ? larger.toFixed(2) : '1');
  }
  addEventListener('resize', fit);
  addEventListener('load', fit);
  fit();

  form.addEventListener('submit', function (event) {
    event.preventDefault();
    if (input.value) agent.send(input.value);
    input.value = '';
  });

  agent.changed = function () {
    const known = agent.status === 'authenticated';
    main.className = agent.status;
    face.textContent = known ? initials(agent.name) : '?';
    name.textContent = known ? agent.name : 'Visitor';
    status.textContent = { authenticated: 'Authenticated', anonymous: 'Anonymous', connecting: 'Connecting…' }[agent.status];
    replace(details, rows(agent));
    replace(chat, agent.messages.map((m) => element('p', '', m)));
    replace(log, agent.log.map((line) => element('li', '', line)));
    chat.scrollTop = chat.scrollHeight;
    log.scrollTop = log.scrollHeight;
  };
  agent.changed();
  document.documentElement.appendChild(host);
}
