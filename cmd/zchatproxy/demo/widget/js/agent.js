// What an agent would see of the visitor, and what the widget keeps between pages.
//
// Pages may have patched built-ins (Prototype.js gives strings and arrays a toJSON), so nothing here is written as JSON.

const script = document.currentScript;
const base = new URL('.', script ? script.src : location.href).href;

/** Sends a token to be judged. Resolves to an agent's view of the visitor, or rejects with what is wrong. */
async function judge(kind, token) {
  if (!token) throw new Error('no token');
  const answer = await fetch(base + 'verify?kind=' + kind, { method: 'POST', body: String(token) });
  const verdict = await answer.json();
  if (verdict.error) throw new Error(verdict.error);
  return verdict;
}

/** Calls a jwtFn as the widgets do: it gets a callback, and the widget waits until that is called. */
function tokenOf(jwtFn) {
  return new Promise(function (resolve, reject) {
    if (typeof jwtFn !== 'function') reject(new Error('no jwtFn'));
    else jwtFn(resolve);
  });
}

/** The widget's memory: it outlives the page, and the browser's restart. */
function createStore(name) {
  const key = 'stand-in widget: ' + name;
  return {
    load() {
      try {
        const text = localStorage.getItem(key);
        return text ? text.split('\n').map(decodeURIComponent) : [];
      } catch (e) {
        return [];
      }
    },
    save(values) {
      try {
        if (values.length) localStorage.setItem(key, values.map((v) => encodeURIComponent(v)).join('\n'));
        else localStorage.removeItem(key);
      } catch (e) { /* storage is off: the chat ends with the page */ }
    },
  };
}

function createAgent(widget) {
  const visitorStore = createStore(widget + ' visitor');
  const chatStore = createStore(widget + ' chat');
  const [id, email, name, emailVerified] = visitorStore.load();
  const agent = {
    widget,
    // 'connecting' until the widget knows who is there, then 'authenticated' or 'anonymous'.
    status: id ? 'authenticated' : 'anonymous',
    id: id || '',
    email: email || '',
    name: name || '',
    emailVerified: emailVerified === 'true',
    helpCenter: '', // whose restricted articles the widget may show
    messages: chatStore.load(),
    log: [],
    changed() {},
  };

  agent.say = function (text) {
    agent.log.push(text);
    agent.changed();
  };

  function become(status, who) {
    agent.status = status;
    agent.id = who.id || '';
    agent.email = who.email || '';
    agent.name = who.name || '';
    agent.emailVerified = !!who.emailVerified;
    visitorStore.save(agent.id ? [agent.id, agent.email, agent.name, String(agent.emailVerified)] : []);
    agent.changed();
  }

  // Counts changes of visitor, so that an answer which comes after a later one is dropped.
  let turn = 0;

  /** Asks jwtFn who is there, and shows it. Rejects when that is nobody. */
  agent.authenticate = async function (kind, jwtFn) {
    const mine = ++turn;
    agent.status = 'connecting';
    agent.say('jwtFn called');
    try {
      const who = await judge(kind, await tokenOf(jwtFn));
      if (mine !== turn) return;
      become('authenticated', who);
      agent.say('authenticated: ' + who.id);
    } catch (e) {
      if (mine !== turn) return;
      become('anonymous', {});
      agent.say('unauthenticated: ' + e.message);
      throw e;
    }
  };

  /** Forgets the visitor and the chat. */
  agent.forget = function (command) {
    turn++;
    agent.messages = [];
    chatStore.save(agent.messages);
    become('anonymous', {});
    agent.say(command);
  };

  agent.send = function (text) {
    agent.messages.push(text);
    chatStore.save(agent.messages);
    agent.changed();
  };

  if (id) agent.say('still here: ' + id);
  window.__agent = agent;
  attach(agent);
  return agent;
}
