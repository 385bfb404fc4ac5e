// Web Widget (Classic): reads zESettings once, when it starts, and takes commands through zE.

const HELP_KEPT = 2 * 60 * 60 * 1000; // ms that a Help Center token is kept

const agent = createAgent('classic');
const helpStore = createStore('classic help center');
let settings = {};
let started = false;
const waiting = [];

function merge(into, from) {
  for (const key of Object.keys(from || {})) {
    const value = from[key];
    if (Object.prototype.toString.call(value) === '[object Object]') into[key] = merge(into[key] || {}, value);
    else into[key] = value;
  }
  return into;
}

function authenticateOf(s) {
  return (s.webWidget && s.webWidget.authenticate) || {};
}

function authenticateChat() {
  const chat = authenticateOf(settings).chat;
  if (chat && chat.jwtFn) agent.authenticate('chat', chat.jwtFn).catch(function () {});
}

async function authenticateHelpCenter() {
  const jwtFn = authenticateOf(settings).jwtFn;
  const [email, until] = helpStore.load();
  agent.helpCenter = Number(until) > Date.now() ? email : '';
  if (!jwtFn || agent.helpCenter) return agent.changed();
  try {
    const who = await judge('help-center', await tokenOf(jwtFn));
    agent.helpCenter = who.email;
    helpStore.save([who.email, Date.now() + HELP_KEPT]);
    agent.say('Help Center: ' + who.email);
  } catch (e) {
    agent.say('Help Center refused: ' + e.message);
  }
}

const commands = {
  updateSettings(value) {
    agent.say('updateSettings');
    merge(settings, value);
    authenticateHelpCenter();
  },
  'chat:reauthenticate'() {
    agent.say('chat:reauthenticate');
    authenticateChat();
  },
  logout() {
    agent.forget('logout');
  },
  'chat:send'(text) {
    agent.send(String(text));
  },
};

function run(args) {
  const [namespace, command] = args;
  if (typeof namespace === 'function') return namespace();
  if (namespace !== 'webWidget') throw new Error('zE: this is the classic widget, it knows nothing of ' + namespace);
  if (commands[command]) return commands[command](...args.slice(2));
}

window.zE = window.zEmbed = function (...args) {
  if (started) return run(args);
  waiting.push(args);
};
window.zE.logout = function () {
  helpStore.save([]);
  agent.helpCenter = '';
  agent.say('Help Center: logout');
};

// The page's own global: what a page says with let is not on window.
/* global zESettings */
settings = merge({}, typeof zESettings === 'undefined' ? {} : zESettings);
agent.settings = settings;
setTimeout(function () {
  started = true;
  agent.say('started');
  authenticateHelpCenter();
  authenticateChat();
  while (waiting.length) run(waiting.shift());
}, 0);
