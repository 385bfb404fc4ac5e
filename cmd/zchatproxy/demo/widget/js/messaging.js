// Messaging: signs in and out by command only.

const agent = createAgent('messaging');
agent.settings = window.zESettings || {};
let started = false;
const waiting = [];

const commands = {
  loginUser(jwtFn, failed) {
    if (agent.status !== 'anonymous') agent.say('loginUser: ' + (agent.id || 'somebody') + ' has not been logged out');
    else agent.say('loginUser');
    agent.authenticate('messaging', jwtFn).catch(function (e) {
      if (typeof failed === 'function') failed({ type: 'loginFailed', reason: e.message, message: e.message });
    });
  },
  logoutUser() {
    agent.forget('logoutUser');
  },
};

function run(args) {
  const [namespace, command] = args;
  if (typeof namespace === 'function') return namespace();
  if (namespace !== 'messenger') throw new Error('zE: this is messaging, it knows nothing of ' + namespace);
  if (commands[command]) return commands[command](...args.slice(2));
}

window.zE = function (...args) {
  if (started) return run(args);
  waiting.push(args);
};
setTimeout(function () {
  started = true;
  agent.say('started');
  while (waiting.length) run(waiting.shift());
}, 0);
