// The standalone Chat widget: runs the functions that the loader's $zopim has queued, then those that come.

const agent = createAgent('chat');
agent.settings = window.zESettings || {};
let cleared = false;

const livechat = {
  authenticate(options) {
    if (cleared) return agent.say('authenticate: not before the next page, after clearAll');
    agent.say('authenticate');
    agent.authenticate('chat', options && options.jwtFn).catch(function () {});
  },
  clearAll() {
    cleared = true;
    agent.forget('clearAll');
  },
  say(text) {
    agent.send(String(text));
  },
  set() {},
};

const queue = window.$zopim;
const waiting = (queue && queue._) || [];
let started = false;

window.$zopim = function (job) {
  if (started) job();
  else waiting.push(job);
};
window.$zopim.livechat = livechat;
setTimeout(function () {
  started = true;
  agent.say('started');
  while (waiting.length) waiting.shift()();
}, 0);
