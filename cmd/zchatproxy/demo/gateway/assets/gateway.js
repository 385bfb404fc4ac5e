// The landing page's two conveniences: it shows the token that the widget would get, and it notices that somebody
// logged in or out in another tab. Without this script the page works the same, with reloading by hand.
(() => {
  'use strict';
  const here = document.body.dataset;
  const ask = document.getElementById('ask');
  const out = document.getElementById('token');

  const decode = (part) => {
    const bytes = Uint8Array.from(atob(part.replace(/-/g, '+').replace(/_/g, '/')), (c) => c.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes));
  };

  const add = (parent, tag, text) => {
    const e = document.createElement(tag);
    e.textContent = text;
    parent.append(e);
    return e;
  };

  const readable = (name, value) =>
    name === 'iat' || name === 'exp' ? `${value} (${new Date(value * 1000).toLocaleTimeString()})` : JSON.stringify(value);

  const showToken = (token) => {
    const parts = token.split('.');
    const list = add(out, 'dl', '');
    for (const object of [decode(parts[0]), decode(parts[1])]) {
      for (const [name, value] of Object.entries(object)) {
        add(list, 'dt', name);
        add(list, 'dd', readable(name, value));
      }
    }
    const raw = add(out, 'p', '');
    raw.className = 'raw';
    parts.forEach((part, i) => {
      if (i > 0) raw.append('.');
      add(raw, 'b', part);
    });
  };

  const fetchToken = async () => {
    out.replaceChildren();
    try {
      const answer = await fetch(here.token, {
        credentials: 'same-origin', cache: 'no-store', redirect: 'manual', headers: { Accept: 'application/jwt, application/json' },
      });
      if (answer.ok) {
        showToken(await answer.text());
        return;
      }
      const problem = await answer.json();
      add(out, 'p', `${answer.status}: ${problem.detail || problem.error}`).className = 'refused';
    } catch {
      add(out, 'p', 'No answer. Is the demonstration still running?').className = 'refused';
    }
  };

  if (here.token) {
    ask.hidden = false;
    ask.addEventListener('click', fetchToken);
    // For somebody who is logged in the token is shown at once. That request passes zchatproxy, as the first page
    // after a log-in does, and so tells the site's open tabs that somebody is there.
    if (here.person) fetchToken();
  }

  document.addEventListener('visibilitychange', async () => {
    if (document.visibilityState !== 'visible') return;
    try {
      const now = await (await fetch('whoami', { cache: 'no-store' })).json();
      if (now.id !== here.person || String(now.ended) !== here.ended) location.reload();
    } catch { /* the demonstration has stopped: the page stays as it is */ }
  });
})();
