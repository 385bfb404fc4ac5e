/*
 * The script that zchatproxy puts into a page, before any other script of it.
 *
 * It hands the Zendesk widget a way to fetch a token for whoever is logged in to the site, and keeps the widget's
 * idea of who that is equal to the site's. What it goes by is the cookie __zchat_visitor, which the proxy sets,
 * changes and removes: an opaque value per person, absent when nobody is logged in.
 *
 * One source serves three widgets: a statement labelled CLASSIC, MESSAGING or CHAT is kept for that widget only.
 * The minified text stands in HTML and in XHTML alike, so there is no less-than sign and no ampersand in the code:
 * conditions are nested or turned round instead of joined. It runs in the company of libraries that patch
 * built-ins, so it does without array methods, bind and JSON, and looks at own properties only; what it needs of
 * the window later it takes before the page can replace it. No failure of it may reach the page.
 *
 * config: path      absolute path of the token route
 *         settings  the site's zESettings, absent if empty
 *         help      1 when the Help Center has a secret, and so a token route, of its own (classic)
 *         late      1 when no page can tell who is logged in, so that only the token route knows
 *         url       the widget's loader, for pages that do not load the widget themselves; absent to leave that be
 */
(function (config) {
  'use strict';

  var FEW = 3000, // ms, at least, between two questions to the token route
    MANY = 3e5, // ms, at most, once it has failed again and again
    PATIENCE = 6e3, // ms for an answer
    NAME = '__zchat_visitor', // of the cookie, and of what is remembered of it
    win = window,
    doc = document,
    fetch = win.fetch,
    later = win.setTimeout,
    // Not a relative address: a <base> of the page's could send that to another host.
    site = location.origin,
    route = site + config.path,
    nonce = (doc.currentScript || {}).nonce,
    // Now, since a page may put members of these names into Object.prototype.
    own = config.settings,
    late = config.late,
    url = config.url,
    help = config.help, // then its jwtFn
    api = 'zE', // the widget's global
    wishes = win.zESettings, // as the page has set it so far
    pause = FEW, // to let pass before the next question
    resting, // too early for a question
    wanted, // one has come up meanwhile
    timer,
    who, // the visitor that the widget belongs to, or should; '' nobody
    known, // as whose the next page will know the widget
    ended, // cookie of a visitor whose session is over, says the token route
    leaving, // the widget has yet to be told to forget a visitor
    entering, // the widget has yet to be told of a visitor
    unmet, // the widget has not been seen yet
    meet,
    leave,
    enter,
    tell,
    tag; // the loader's element

  function on(target, type, listener, capture) {
    target.addEventListener(type, listener, capture);
  }

  function attempt(step, a, b, c) {
    try {
      return step(a, b, c);
    } catch (e) {}
  }

  function visitor() {
    var cookies = attempt(function () {
      return '; ' + doc.cookie; // throws in a sandbox
    });
    return ((cookies || '').split('; ' + NAME + '=')[1] || '').split(';')[0];
  }

  // ---- zESettings: the page's wishes, the site's settings under them, the proxy's authentication over both

  function plain(value) {
    return {}.toString.call(value) === '[object Object]';
  }

  function has(object, key) {
    return {}.hasOwnProperty.call(object, key);
  }

  // Sets, or removes where value is undefined; in place if possible, since the page may hold on to its object.
  function put(object, key, value) {
    if (!plain(object)) object = {};
    if (!Object.isExtensible(object)) object = under({}, object);
    if (value === undefined) delete object[key];
    else object[key] = value;
    return object;
  }

  // Fills in what wish leaves open. With {} for a wish it makes a deep copy.
  function under(wish, ours) {
    var key, value;
    for (key in ours) {
      if (!has(ours, key)) continue;
      value = ours[key];
      if (!plain(wish)) wish = {};
      if (!has(wish, key)) wish = put(wish, key, plain(value) ? under({}, value) : value);
      else if (plain(value)) if (plain(wish[key])) wish = put(wish, key, under(wish[key], value));
    }
    return wish;
  }

  function compose(wish) {
    wish = under(wish, own);
    CLASSIC: {
      var widget = (wish || {}).webWidget, theirs = (widget || {}).authenticate;
      if (who || theirs) wish = put(wish, 'webWidget', put(widget, 'authenticate', authentication(theirs)));
    }
    return wish;
  }

  // Whoever reads zESettings gets all of it, however the page has set it by then.
  function settings() {
    try {
      wishes = compose(wishes);
    } catch (e) {
      wishes = attempt(compose, under({}, wishes)); // members that cannot be written
    }
    return wishes;
  }

  CLASSIC: var authentication = function (theirs) {
    if (!who) return;
    theirs = put(theirs, 'chat', { jwtFn: token });
    return help ? put(theirs, 'jwtFn', help) : theirs;
  };

  // ---- the token route

  // Passes on a token, '' for any other answer, and nothing when there is none.
  function ask(path, done) {
    function fail() {
      attempt(done);
    }
    try {
      fetch(route + path, {
        credentials: 'same-origin',
        cache: 'no-store',
        redirect: 'manual',
        headers: { Accept: 'application/jwt, application/json' },
        // Else it would keep one of the page's few connections; without it, in old browsers, there is no limit.
        signal: attempt(function () {
          return AbortSignal.timeout(PATIENCE);
        })
      }).then(function (answer) {
        if (answer.status === 200) if (/^application\/jwt\b/i.test(answer.headers.get('Content-Type'))) return answer.text();
      }).then(function (text) {
        attempt(done, /^[\w-]+(\.[\w-]+){2}$/.test(text) ? text : '');
      }, fail);
    } catch (e) {
      fail();
    }
  }

  // Takes in what the route said about the session.
  function heard(text) {
    if (text) ended = '';
    else if (text === '') ended = visitor();
    pause = text ? FEW : Math.min(pause * 2, MANY);
    rest();
    sync();
  }

  function rest() {
    resting = 1;
    clearTimeout(timer);
    timer = later(function () {
      resting = 0;
      if (wanted) stir();
    }, pause);
  }

  // The page is in use: has the session ended behind its back?
  function stir() {
    sync();
    if (!visitor()) if (!late) return;
    wanted = 1;
    if (resting || doc.hidden) return;
    wanted = 0;
    resting = 1;
    ask('', heard);
  }

  function jwtFn(path) {
    return function (callback) {
      var asked;
      function go() {
        ask(path, function (text) {
          // The widget must hear something, so here no answer counts as a bad one.
          text = text || '';
          if (path) sync();
          else heard(text);
          // Somebody else by now: that takes a log-out first.
          attempt(callback, who === asked ? text : '');
        });
      }
      sync();
      asked = who;
      if (!asked) attempt(callback, '');
      else if (doc.prerendering) on(doc, 'prerenderingchange', go);
      else go();
    };
  }

  var token = jwtFn('');
  CLASSIC: if (help) help = jwtFn('/help-center');

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

  // Tells the widget what is due, once it is there. It may call back at once, so what is done is ticked off first.
  function act() {
    if (doc.prerendering) return; // nobody's page until it is shown
    if (typeof win[api] === 'function') {
      CLASSIC: if (unmet) {
        unmet = 0;
        attempt(meet);
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
    // The next page has to know whom the widget belongs to: a log-out often ends on a page that is not ours.
    if (!leaving) if (known !== who) attempt(function () {
      known = who;
      localStorage[NAME] = who;
    });
  }

  CLASSIC: {
    tell = function (command, value) {
      attempt(win.zE, 'webWidget', command, value);
    };
    unmet = 1;
    meet = function () {
      var theirs = attempt(function () {
        return zESettings; // throws where the page's let was never reached
      });
      // A page's let hides our property, its defineProperty replaces it: then the widget has not seen all of it.
      if (theirs === settings()) return;
      if (who) entering = 1;
      if (who || own) tell('updateSettings', compose(under({}, theirs)));
    };
    leave = function () {
      tell('logout');
      if (help) attempt(function () {
        win.zE.logout();
      });
    };
    enter = function () {
      tell('updateSettings', { webWidget: { authenticate: authentication() } });
      tell('chat:reauthenticate');
    };
  }

  MESSAGING: {
    leave = function () {
      attempt(win.zE, 'messenger', 'logoutUser');
    };
    enter = function () {
      attempt(win.zE, 'messenger', 'loginUser', token);
    };
  }

  CHAT: {
    api = '$zopim';
    tell = function (job) {
      attempt(win.$zopim, function () {
        attempt(function () {
          job(win.$zopim.livechat);
        });
      });
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
    var types = win.trustedTypes;
    if (!url || tag || win.zE || win.$zopim) return;
    if (doc.querySelector('#ze-snippet,[src*="/ekr/snippet.js"],[src*="zopim.com/"]')) return;
    tag = doc.createElement('script');
    tag.id = 'ze-snippet';
    if (nonce) tag.nonce = nonce;
    if (types) url = types.createPolicy('zchatproxy', {
      createScriptURL: function () {
        return url;
      }
    }).createScriptURL('');
    tag.src = url;
    CHAT: {
      var queue = win.$zopim = function (job) {
        queue._.push(job);
      };
      queue.set = function (values) {
        queue.set._.push(values);
      };
      queue._ = [];
      queue.set._ = [];
      queue.s = tag;
      queue.t = +new Date();
      act();
    }
    doc.head.appendChild(tag);
  }

  function tryLoad() {
    attempt(load);
  }

  // ---- start

  attempt(function () {
    Object.defineProperty(win, 'zESettings', {
      configurable: 1, // so that a page's var, let and defineProperty go on working
      enumerable: 1,
      get: settings,
      set: function (value) {
        wishes = value;
      }
    });
  });

  attempt(function () {
    who = known = localStorage[NAME] || '';
  });
  MESSAGING: entering = who;
  CHAT: entering = who;
  sync();
  CLASSIC: if (!leaving) entering = 0; // zESettings says it
  rest();

  on(doc, 'DOMContentLoaded', function () {
    act();
    if (late) if (!visitor()) {
      resting = 0;
      stir();
    }
    later(tryLoad, 4e3);
  });
  // As late as is fair: the page may yet load the widget itself, even on load.
  on(win, 'load', function () {
    later(tryLoad, 0);
  });
  // The widget comes with a script, whoever put it there and whenever.
  on(doc, 'load', act, true);
  on(win, 'focus', function () {
    if (doc.readyState !== 'loading') stir(); // a page may get it while it loads
  });
  on(doc, 'prerenderingchange', stir);
  on(doc, 'visibilitychange', stir);
  on(win, 'pageshow', function (event) {
    if (event.persisted) stir();
  });
  // Another tab has noticed something.
  on(win, 'storage', function (event) {
    if (event.key !== NAME) return;
    resting = 0;
    stir();
  });
  attempt(function () {
    on(win.cookieStore, 'change', sync);
  });
  attempt(function () {
    new PerformanceObserver(function (list) {
      var entries = list.getEntries(), n = entries.length, moved, entry;
      while (n--) {
        entry = entries[n];
        // The page's own requests to its site; not ours, or asking would never end.
        if (/^(fetch|xml|beacon|iframe)/.test(entry.initiatorType))
          if (!entry.name.indexOf(site + '/')) if (entry.name.indexOf(route)) moved = 1;
      }
      if (moved) stir();
      else act();
    }).observe({ entryTypes: ['resource'] });
  });
})(ZCHAT_CONFIG);
