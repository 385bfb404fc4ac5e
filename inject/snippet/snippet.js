/*
 * The script that zchatproxy puts into a page, before any other script of it.
 *
 * It hands the Zendesk widget a way to fetch a token for whoever is logged in to the site, and keeps the
 * widget's idea of who that is equal to the site's. What it goes by is the cookie __zchat_visitor, which the
 * proxy sets, changes and removes: an opaque value per person, absent when nobody is logged in.
 *
 * One source serves three widgets: a statement labelled CLASSIC, MESSAGING or CHAT is kept for that widget only.
 * The minified text stands in HTML and in XHTML alike, so there must be no less-than sign and no ampersand
 * in the code: conditions are nested or turned round instead of joined. It runs in the company of
 * libraries that patch built-ins, so it does without array methods, bind and JSON, looks at own properties only, and takes what
 * it needs of the window before the page can replace it. No failure of it may reach the page.
 *
 * config: path      absolute path of the token route
 *         settings  the site's zESettings, absent if empty
 *         help      1 when the Help Center has a secret, and so a token route, of its own (classic)
 *         late      1 when no page can tell who is logged in, so that only the token route knows
 *         url       the widget's loader, for pages that do not load the widget themselves; absent to leave that be
 */
(function (config) {
  'use strict';

  var win = window;
  var doc = document;
  var fetch = win.fetch;
  var later = win.setTimeout;
  var owns = {}.hasOwnProperty;
  var kind = {}.toString;
  var memory = '__zchat_visitor';
  // Not a relative address: a <base> of the page's could send that to another host.
  var site = location.protocol + '//' + location.host;
  var route = site + config.path;
  var nonce = (doc.currentScript || {}).nonce;

  var FEW = 3000; // ms between two questions to the token route, at least
  var MANY = 3e5; // ms, at most, once it has failed again and again
  var PATIENCE = 1e4; // ms for an answer

  var who; // visitor the widget belongs to, or should; '' nobody
  var ended; // cookie of a visitor whose session the token route has denied
  var leaving; // the widget has yet to be told to forget a visitor
  var entering; // the widget has yet to be told of a visitor
  var resting; // too early for another question
  var wanted; // a question has come up meanwhile
  var pause = FEW;
  var timer;
  var tag; // the loader's element

  function on(target, type, listener, capture) {
    target.addEventListener(type, listener, capture || false);
  }

  // A prerendered page is nobody's until it is shown.
  function shown(then) {
    if (doc.prerendering) on(doc, 'prerenderingchange', then);
    else then();
  }

  function visitor() {
    try {
      return (/(?:^|; ?)__zchat_visitor=([^;]*)/.exec(doc.cookie) || [])[1] || '';
    } catch (e) {
      return ''; // a sandboxed document
    }
  }

  function recall() {
    try {
      return localStorage.getItem(memory) || '';
    } catch (e) {
      return ''; // storage is off: this page has to do
    }
  }

  function remember() {
    try {
      if (who) localStorage.setItem(memory, who);
      else localStorage.removeItem(memory);
    } catch (e) {}
  }

  // ---- zESettings: the page's wishes, the site's settings under them, the proxy's authentication over both

  function plain(value) {
    return kind.call(value) === '[object Object]';
  }

  // Sets or (value undefined) removes, in place where that can be: the page may hold on to its object.
  function put(object, key, value) {
    if (!plain(object)) object = {};
    if (object[key] === value) return object;
    if (!Object.isExtensible(object)) object = under({}, object);
    if (value === undefined) delete object[key];
    else object[key] = value;
    return object;
  }

  // Fills in what wish leaves open. With a wish of {}, a deep copy of own.
  function under(wish, own) {
    var key;
    if (!own) return wish;
    for (key in own) {
      if (!owns.call(own, key)) continue;
      if (!plain(wish)) wish = {};
      if (plain(own[key])) {
        if (plain(wish[key]) || !owns.call(wish, key)) wish = put(wish, key, under(wish[key] || {}, own[key]));
      } else if (!owns.call(wish, key)) wish = put(wish, key, own[key]);
    }
    return wish;
  }

  var token = jwtFn('');
  var help;
  CLASSIC: if (config.help) help = jwtFn('/help-center');

  function authentication(wish) {
    wish = put(wish, 'chat', { jwtFn: token });
    return help ? put(wish, 'jwtFn', help) : wish;
  }

  function compose(wish) {
    wish = under(wish, config.settings);
    CLASSIC: {
      var inner = (wish || {}).webWidget;
      if (who) wish = put(wish, 'webWidget', put(inner, 'authenticate', authentication((inner || {}).authenticate)));
      else if (plain(inner)) wish = put(wish, 'webWidget', put(inner, 'authenticate'));
    }
    return wish;
  }

  var wishes = win.zESettings;

  // Whoever reads zESettings gets all of it, however the page has set it by then.
  function settings() {
    try {
      wishes = compose(wishes);
    } catch (e) {
      try {
        wishes = compose(under({}, wishes)); // some member cannot be written
      } catch (e) {}
    }
    return wishes;
  }

  // ---- the token route

  // done(token, silent): token is '' for anything but a token; silent when there was no answer at all.
  function ask(path, done) {
    var stop;
    var limit;
    var over;
    function end(text, silent) {
      if (over) return;
      over = 1;
      clearTimeout(limit);
      try {
        done(text, silent);
      } catch (e) {}
    }
    function fail() {
      end('', 1);
    }
    try {
      stop = win.AbortController ? new AbortController() : {};
      limit = later(function () {
        fail();
        stop.abort(); // lest it keep one of the page's few connections
      }, PATIENCE);
      fetch(route + path, {
        credentials: 'same-origin',
        cache: 'no-store',
        redirect: 'manual',
        headers: { Accept: 'application/jwt, application/json' },
        signal: stop.signal
      }).then(function (answer) {
        if (answer.status !== 200) return '';
        return /^application\/jwt\b/i.test(answer.headers.get('Content-Type')) ? answer.text() : '';
      }).then(function (text) {
        end(/^[\w-]+(\.[\w-]+){2}$/.test(text) ? text : '');
      }).then(null, fail);
    } catch (e) {
      fail();
    }
  }

  // Takes in what the route said of the session, and rests from asking.
  function heard(text, silent) {
    if (text) ended = '';
    else if (!silent) ended = visitor();
    pause = text ? FEW : pause * 2 > MANY ? MANY : pause * 2;
    resting = 1;
    clearTimeout(timer);
    timer = later(rested, pause);
    sync();
  }

  function rested() {
    resting = 0;
    if (wanted) stir();
  }

  // The page is in use: has the session ended behind its back?
  function stir() {
    sync();
    if (!visitor()) if (!config.late) return;
    wanted = 1;
    if (resting || doc.hidden) return;
    wanted = 0;
    resting = 1;
    ask('', heard);
  }

  function jwtFn(path) {
    return function (callback) {
      var asked;
      function give(text) {
        try {
          callback(text);
        } catch (e) {}
      }
      sync();
      asked = who;
      if (!who) return give('');
      shown(function () {
        ask(path, function (text) {
          // The widget must hear something, so here no answer counts as a bad one.
          if (path) sync();
          else heard(text);
          // A log-out has to come before a token of whoever is here now.
          give(who === asked ? text : '');
        });
      });
    };
  }

  // ---- who is here, and what the widget has to be told

  function sync() {
    var now = visitor();
    if (now === ended) now = '';
    else ended = '';
    if (now !== who) {
      if (who) leaving = 1;
      if (now) pause = FEW;
      who = entering = now;
    }
    act();
  }

  // Tells the widget what is due, once it is there.
  function act() {
    if (doc.prerendering) return;
    if (leaving || entering || meet) {
      if (present()) {
        if (meet) {
          meet();
          meet = 0;
        }
        if (leaving) {
          leaving = 0;
          leave();
        }
        if (entering) {
          entering = 0;
          enter();
        }
      }
    }
    if (!leaving) remember();
  }

  function tell() {
    try {
      win.zE.apply(win, arguments);
    } catch (e) {} // switched to another kind of widget, or broken
  }

  var present = function () {
    return typeof win.zE === 'function';
  };
  var meet;
  var leave;
  var enter;

  CLASSIC: {
    meet = function () {
      var theirs;
      try {
        theirs = zESettings;
      } catch (e) {} // let, and never reached
      // A page's let hides our property, defineProperty replaces it: then the widget has not seen all of it.
      if (theirs === wishes) return;
      if (who || config.settings) tell('webWidget', 'updateSettings', compose(under({}, theirs)));
      if (who) entering = 1;
    };
    leave = function () {
      tell('webWidget', 'logout');
      try {
        if (help) win.zE.logout();
      } catch (e) {}
    };
    enter = function () {
      tell('webWidget', 'updateSettings', { webWidget: { authenticate: authentication() } });
      tell('webWidget', 'chat:reauthenticate');
    };
  }

  MESSAGING: {
    leave = function () {
      tell('messenger', 'logoutUser');
    };
    enter = function () {
      tell('messenger', 'loginUser', token);
    };
  }

  CHAT: {
    present = function () {
      return typeof win.$zopim === 'function';
    };
    tell = function (job) {
      try {
        win.$zopim(function () {
          try {
            job(win.$zopim.livechat);
          } catch (e) {}
        });
      } catch (e) {}
    };
    leave = function () {
      tell(function (livechat) {
        livechat.clearAll();
      });
    };
    enter = function () {
      tell(function (livechat) {
        livechat.authenticate({ jwtFn: token });
      });
    };
  }

  // ---- the loader

  function load() {
    if (tag || win.zE || win.$zopim) return;
    if (doc.querySelector('#ze-snippet,script[src*="/ekr/snippet.js"],script[src*="zopim.com/"]')) return;
    tag = doc.createElement('script');
    CHAT: {
      var queue = win.$zopim = function (job) {
        queue._.push(job);
      };
      queue._ = [];
      queue.s = tag;
      queue.t = +new Date();
      queue.set = function (values) {
        queue.set._.push(values);
      };
      queue.set._ = [];
      act();
    }
    tag.id = 'ze-snippet';
    tag.async = true;
    if (nonce) tag.nonce = nonce;
    tag.src = config.url;
    (doc.head || doc.documentElement).appendChild(tag);
  }

  // ---- start

  function parsed(then) {
    if (doc.readyState === 'loading') on(doc, 'DOMContentLoaded', then);
    else then();
  }

  function attempt(step) {
    try {
      step();
    } catch (e) {}
  }

  function start() {
    Object.defineProperty(win, 'zESettings', {
      configurable: true, // so that a page's var, let and defineProperty go on working
      enumerable: true,
      get: settings,
      set: function (value) {
        wishes = value;
      }
    });
    who = recall();
    MESSAGING: entering = who;
    CHAT: entering = who;
    sync();
    CLASSIC: if (!leaving) entering = ''; // the widget reads it from zESettings
    resting = 1;
    timer = later(rested, FEW);
  }

  function listen() {
    // The widget comes with a script, whoever put it there and whenever.
    on(doc, 'load', act, true);
    on(win, 'focus', stir);
    on(doc, 'visibilitychange', stir);
    on(win, 'pageshow', function (event) {
      if (event.persisted) stir();
    });
    // Another tab has noticed something.
    on(win, 'storage', function (event) {
      if (event.key !== memory) return;
      resting = 0;
      stir();
    });
  }

  function watch() {
    new PerformanceObserver(function (list) {
      var entries = list.getEntries();
      var n = entries.length;
      var name;
      var moved;
      while (n--) {
        name = entries[n].name;
        // Requests of the page's to its own site; not ours, or asking would never end.
        if (/^(fetch|xml|beacon|iframe)/.test(entries[n].initiatorType)) if (!name.indexOf(site + '/')) if (name.indexOf(route)) moved = 1;
      }
      if (moved) stir();
      else act();
    }).observe({ entryTypes: ['resource'] });
  }

  attempt(function () {
    // A second copy of this script finds the first one listening, and goes.
    var first = win.dispatchEvent(new Event(memory, { cancelable: true }));
    if (!first) return;
    on(win, memory, function (event) {
      event.preventDefault();
    });
    attempt(start);
    attempt(listen);
    attempt(watch);
    attempt(function () {
      win.cookieStore.addEventListener('change', sync);
    });
    parsed(function () {
      act();
      shown(function () {
        act();
        if (config.late) if (!visitor()) {
          resting = 0;
          stir();
        }
        if (!config.url) return;
        // As late as is fair: the page may yet load the widget itself.
        later(load, 4000);
        if (doc.readyState === 'complete') later(load, 0);
        else on(win, 'load', function () {
          later(load, 0);
        });
      });
    });
  });
})(ZCHAT_CONFIG);
