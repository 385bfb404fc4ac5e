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
    PATIENCE = 6e3, // ms for an answer
    NAME = '__zchat_visitor', // of the cookie, and of what is remembered of it
    win = window,
    doc = document,
    fetch = win.fetch,
    later = win.setTimeout,
    listen = win.addEventListener,
    // Not a relative address: a <base> of the page's could send that to another host.
    site = location.origin,
    route = site + config.path,
    nonce = (doc.currentScript || {}).nonce,
    // Now, since a page may put members of these names into Object.prototype.
    own = config.settings,
    url = config.url,
    help = config.help,
    late = win.origin === 'null' ? 0 : config.late, // in a sandbox asking is in vain, and would show on the console
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
    left, // it has been told so, and has not shown since that it is there
    entering, // the widget has yet to be told of a visitor
    met, // the widget's function that was told last
    mute, // the widget has asked for a token, and there was no answer
    meet,
    leave,
    enter,
    tell,
    PRE = 'prerendering';

  function on(target, type, listener, capture) {
    listen.call(target, type, listener, capture);
  }

  function attempt(step, a, b, c) {
    try {
      return step(a, b, c);
    } catch (e) {}
  }

  function visitor() {
    return attempt(function () {
      return ('; ' + doc.cookie).split('; ' + NAME + '=')[1].split(';')[0]; // throws in a sandbox, and without one
    }) || '';
  }

  // ---- zESettings: the page's wishes, the site's settings under them, the proxy's authentication over both

  function plain(value) {
    return {}.toString.call(value) === '[object Object]';
  }

  function has(object, key) {
    return {}.hasOwnProperty.call(object, key);
  }

  // Puts ours under a wish, to fill in what that leaves open, or over it by force; in place, since the page may hold on
  // to its object. With {} for a wish it makes a deep copy.
  function merge(wish, ours, force) {
    var key, value, deep;
    if (!plain(wish)) wish = {};
    for (key in ours) {
      if (!has(ours, key)) continue;
      value = ours[key];
      deep = plain(value);
      if (force || !has(wish, key) || deep * plain(wish[key]))
        wish[key] = deep ? merge(has(wish, key) ? wish[key] : 0, value, force) : value;
    }
    return wish;
  }

  function compose(wish) {
    if (own) wish = merge(wish, own);
    CLASSIC: {
      if (who) return merge(wish, ours, 1);
      if (((wish || {}).webWidget || {}).authenticate) delete wish.webWidget.authenticate;
    }
    return wish;
  }

  // Whoever reads zESettings gets all of it, however the page has set it by then.
  function settings() {
    try {
      wishes = compose(wishes);
    } catch (e) {
      attempt(function () {
        wishes = compose(merge({}, wishes)); // members that cannot be written, or else not even read
      });
    }
    return wishes;
  }

  // ---- the token route

  // Passes on a token, '' for any other answer, or nothing when there is none in time; and as whom it was asked.
  function ask(path, done) {
    var asked = visitor();
    function end(text) {
      var listener = done;
      done = 0; // which attempt cannot call: so it is called once
      attempt(listener, text, asked);
    }
    function fail() {
      end();
    }
    later(fail, PATIENCE);
    try {
      fetch(route + path, {
        __proto__: null, // a page may put options into Object.prototype
        credentials: 'same-origin',
        cache: 'no-store',
        redirect: 'manual',
        // The time is what answers vary by, so that no service worker gives an old one.
        headers: { Accept: 'application/jwt, application/json', 'X-Zchat-At': +new Date() },
        // Else it would keep one of the page's few connections.
        signal: attempt(function () {
          return AbortSignal.timeout(PATIENCE);
        })
      }).then(function (answer) {
        if (answer.status === 200) if (/^application\/jwt\b/i.test(answer.headers.get('Content-Type'))) return answer.text();
      }).then(function (text) {
        end(/^[\w-]+(\.[\w-]+){2}$/.test(text) ? text : '');
      }, fail);
    } catch (e) {
      fail();
    }
  }

  // Takes in what the route said about the session.
  function heard(text, asked) {
    if (text) {
      if (mute) entering = who;
      ended = mute = '';
    } else if (text === '') ended = asked;
    pause = text ? FEW : Math.min(pause * 2, 3e5);
    sync();
    rest();
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
    if (who) known = 0; // a page may have emptied the storage
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
      function go() {
        ask(path, function (text, asked) {
          // The widget must hear something. Is it somebody else by now, it hears of that next.
          attempt(callback, visitor() === asked ? text || '' : '');
          if (text === undefined) mute = wanted = 1;
          if (path) sync();
          else heard(text, asked);
        });
      }
      sync();
      left = 0;
      if (!who || mute * resting) attempt(callback, '');
      else if (doc[PRE]) on(doc, PRE + 'change', go);
      else go();
    };
  }

  var token = jwtFn('');
  CLASSIC: {
    var ours = { webWidget: { authenticate: { chat: { jwtFn: token } } } };
    if (help) ours.webWidget.authenticate.jwtFn = jwtFn('/help-center');
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
      mute = 0;
    }
    act();
  }

  // Tells the widget what is due, once it is there. It may call back at once, so what is done is ticked off first.
  function act() {
    if (doc[PRE]) return; // nobody's page until it is shown
    var widget = attempt(function () {
      return win[api];
    });
    if (typeof widget === 'function') {
      CHAT: met = widget; // at first a queue, which passes on what it was told
      // A page's own stub does not, and a page may load the widget again.
      if (widget !== met) {
        met = widget;
        if (left) {
          leaving = 1;
          entering = who;
        }
        attempt(meet);
      }
      if (leaving) {
        leaving = 0;
        left = 1;
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
    meet = function () {
      var theirs = attempt(function () {
        return zESettings; // throws where the page's let was never reached
      });
      // A page's let hides our property, its defineProperty replaces it: then the widget has not seen all of it.
      if (theirs === settings()) return;
      if (who) entering = 1;
      if (who || own) tell('updateSettings', compose(merge({}, theirs)));
    };
    leave = function () {
      tell('logout');
      if (help) attempt(function () {
        win.zE.logout();
      });
    };
    enter = function () {
      tell('updateSettings', merge({}, ours));
      tell('chat:reauthenticate');
    };
  }

  MESSAGING: {
    meet = function () {
      entering = who;
    };
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
    var types = win.trustedTypes, tag = doc.createElement('script'), address = url;
    url = 0;
    // A page in a frame, without TLS, comes with the script too; the widget belongs to the page around it.
    if (!address || win.zE || win.$zopim || win.top !== win ||
      doc.querySelector('#ze-snippet,[src*="/ekr/snippet.js"],[src*="zopim.com/"]')) return;
    tag.id = 'ze-snippet';
    if (nonce) tag.nonce = nonce;
    if (types) address = types.createPolicy('zchatproxy', { createScriptURL: String }).createScriptURL(address);
    tag.src = address;
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
  sync();
  CLASSIC: if (!leaving) entering = 0; // zESettings says it
  CHAT: entering = who;
  rest();

  on(doc, 'DOMContentLoaded', function () {
    act();
    if (!visitor()) {
      resting = 0;
      stir();
    }
    on(win, 'focus', stir); // only now, since a page may get it while it loads
    later(attempt, 4e3, load);
  });
  // As late as is fair: the page may yet load the widget itself, even on load.
  on(win, 'load', function () {
    later(attempt, 0, load);
  });
  // The widget comes with a script, whoever put it there and whenever.
  on(doc, 'load', function (event) {
    var frame = event.target;
    if (frame.contentWindow) if (!(frame.src + '').indexOf(site + '/')) stir();
    act();
  }, true);
  on(doc, PRE + 'change', stir);
  on(doc, 'visibilitychange', stir);
  on(win, 'pageshow', function (event) {
    if (event.persisted) stir();
  });
  // Another tab has noticed something.
  on(win, 'storage', function (event) {
    if (event.key === NAME) {
      resting = 0;
      stir();
    }
  });
  attempt(function () {
    on(win.cookieStore, 'change', sync);
  });
  attempt(function () {
    new PerformanceObserver(function (list) {
      var entries = list.getEntries(), n = entries.length, entry;
      while (n--) {
        entry = entries[n];
        // The page's own requests to its site; not ours, or asking would never end.
        if (/^(fetch|xml|beacon)/.test(entry.initiatorType))
          if (!entry.name.indexOf(site + '/')) if (entry.name.indexOf(route)) return stir();
      }
      act();
    }).observe({ entryTypes: ['resource'] });
  });
})(ZCHAT_CONFIG);
