package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"zchatproxy/proxy"
	"zchatproxy/proxy/wire"
	"zchatproxy/signer"
)

// maxHeaderBytes bounds a request's header: room for a gateway's assertion with many groups and for the cookies of an
// old site, and an end to what one connection can make us keep.
const maxHeaderBytes = 128 << 10

// followEvery is how often files are looked at. A change counts within five seconds, with room for a slow disk.
const followEvery = 2 * time.Second

func (a *app) serveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "Run the proxy (also what a bare zchatproxy does)",
		Long: `Run the proxy in front of the configured sites.

SIGTERM and SIGINT end it: readiness goes down, no new connection is taken, and open requests may go on for up to
ZCHAT_SHUTDOWN_TIMEOUT. SIGHUP reads secrets, certificates and settings files again; a file that changes is also
read again by itself within 5 seconds. What cannot be used is logged, and the old one stays.

In a container or control group with a memory limit, the garbage collector keeps the process below nine tenths of it;
GOMEMLIMIT sets another limit.`,
		Args: cobra.NoArgs,
		RunE: work(func(*cobra.Command, []string) error { return a.serve(a.ctx) }),
	}
}

// service is a running proxy.
type service struct {
	log     *slog.Logger
	loader  *loader
	config  *configuration
	handler *proxy.Handler
	cert    *certificate // nil without TLS
	conns   *tracker
	server  *http.Server
	admin   *http.Server // nil without an admin listener
	failed  chan error   // of the servers; one value each at most
}

// serve runs until ctx ends and open requests have been drained.
func (a *app) serve(ctx context.Context) error {
	// Before anything else, since a SIGHUP that nobody waits for ends the process.
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	s, err := a.newService()
	if err != nil {
		return err
	}
	a.limitMemory(s.log)
	if err := s.start(); err != nil {
		return err
	}
	if a.getenv("GOGC") == "" {
		tuneHeap()
	}
	patience := s.config.process.ShutdownTimeout // before follow, which replaces s.config
	following, stopFollowing := context.WithCancel(ctx)
	defer stopFollowing()
	go s.follow(following, hangup)

	select {
	case err := <-s.failed:
		s.stop(0)
		return err
	case <-ctx.Done():
		stopFollowing()
		s.stop(patience)
		return nil
	}
}

// newService loads the configuration and builds what it describes, all before anything listens.
func (a *app) newService() (*service, error) {
	l := newLoader(a.env)
	c := l.load()
	if fatal := c.problems.without(func(f finding) bool { return f.passing }); len(fatal) > 0 {
		return nil, &configError{fatal}
	}
	log := newLog(a.stderr, c.process)
	takeStandardLog(log)
	handler, err := proxy.New(c.proxyConfig(log))
	if err != nil {
		return nil, &configError{c.refused(err)}
	}
	s := &service{log: log, loader: l, config: c, handler: handler, failed: make(chan error, 2)}
	if c.process.TLSCertFile != "" {
		if s.cert, err = newCertificate(c.process.TLSCertFile, c.process.TLSKeyFile, log); err != nil {
			return nil, &configError{[]finding{{Variable: prefix + "TLS_CERT_FILE", Message: prefix + "TLS_CERT_FILE: " + err.Error()}}}
		}
	}
	c.logFindings(log)
	return s, nil
}

// logFindings logs what does not keep the proxy from running.
func (c *configuration) logFindings(log *slog.Logger) {
	for _, f := range c.warnings.list {
		log.Warn(f.Message)
	}
	for _, f := range c.problems.list {
		log.Error(f.Message)
	}
}

// start opens the listeners, both before either is served: a port that is taken leaves nothing half started.
func (s *service) start() error {
	p := s.config.process
	ln, err := listen(p.Listen)
	if err != nil {
		return fmt.Errorf("%sLISTEN: %w", prefix, err)
	}
	var adminLn net.Listener
	if p.AdminListen != "off" {
		if adminLn, err = listen(p.AdminListen); err != nil {
			ln.Close()
			return fmt.Errorf("%sADMIN_LISTEN: %w (or write off)", prefix, err)
		}
	}
	s.conns = newTracker(ln, p.MaxConnections)
	s.handler.CountConnections(s.conns.count)
	s.server = &http.Server{
		Handler:                      s.handler,
		DisableGeneralOptionsHandler: true, // OPTIONS * is the upstream's to answer
		ReadHeaderTimeout:            p.ReadHeaderTimeout,
		IdleTimeout:                  p.IdleTimeout,
		MaxHeaderBytes:               maxHeaderBytes,
		// A connection keeps room for the largest frame that has come: by default, one visitor could make that 1 MiB.
		// This is the least that the standard allows, and what clients send unless told otherwise.
		HTTP2:     &http.HTTP2Config{MaxReadFrameSize: 16 << 10},
		ConnState: wire.ConnState,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return proxy.ConnContext(wire.ConnContext(ctx, c), c)
		},
		ErrorLog: serverLog(s.log),
		// No timeout for whole requests: uploads, downloads and event streams take as long as they take.
	}
	go s.run(func() error { return s.serveVisitors(p.ReadHeaderTimeout) })
	attrs := []any{"address", shownAddress(ln), "tls", s.cert != nil}
	if adminLn != nil {
		s.admin = &http.Server{Handler: s.handler.Admin(), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute, ErrorLog: serverLog(s.log)}
		go s.run(func() error { return s.admin.Serve(adminLn) })
		attrs = append(attrs, "admin", shownAddress(adminLn))
	}
	s.logSites()
	s.log.Info("listening", append(attrs, "version", versionOf().Version)...)
	return nil
}

// serveVisitors serves the proxy's listener, every HTTP/1 connection of it behind the guard of its framing.
func (s *service) serveVisitors(handshakeTimeout time.Duration) error {
	guard := wire.Config{
		MaxHeaderBytes:   maxHeaderBytes,
		HandshakeTimeout: handshakeTimeout,
		OnRefuse:         func(_ net.Addr, why error) { s.log.Debug("connection refused", "error", withoutAddresses(why.Error())) },
	}
	if s.cert == nil {
		return s.server.Serve(wire.Listener(s.conns, guard))
	}
	return s.server.Serve(wire.TLSListener(s.conns, s.cert.config(), guard))
}

func (s *service) run(serve func() error) {
	if err := serve(); !errors.Is(err, http.ErrServerClosed) {
		s.failed <- fmt.Errorf("serving: %w", err)
	}
}

// shownAddress is a listener's address as it is written in the configuration.
func shownAddress(ln net.Listener) string {
	if ln.Addr().Network() == "unix" {
		return "unix://" + ln.Addr().String()
	}
	return ln.Addr().String()
}

// logSites says which sites there are and by which secret each signs, so that two installations can be compared. The
// lines would bury everything else where there are hundreds of sites.
func (s *service) logSites() {
	if len(s.config.sites) > 20 {
		s.log.Info("sites", "count", len(s.config.sites))
		return
	}
	for _, t := range s.config.sites {
		s.log.Info("site", "site", t.name, "hosts", strings.Join(t.hosts, ","), "upstream", t.vars.Upstream,
			"widget", t.vars.Widget, "identity", t.vars.Identity, "inject", t.vars.Inject, "secret", t.secret.Fingerprint())
	}
}

// stop takes the proxy out of service: readiness first, so that a load balancer looks elsewhere, then no new
// connections, then the end of the open requests or of the time they have.
func (s *service) stop(patience time.Duration) {
	s.handler.Drain()
	s.log.Info("draining", "timeout", patience.String())
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.server.Shutdown(ctx); err == nil {
		select {
		case <-s.conns.drained(): // what is left now are upgraded connections
		case <-ctx.Done():
		}
	}
	if n := s.conns.cut(); n > 0 {
		s.log.Warn("connections cut that were still in use", "count", n)
	}
	s.server.Close()
	if s.admin != nil {
		s.admin.Close()
	}
	s.log.Info("stopped")
}

// follow reloads on SIGHUP, and when a file of the configuration changes, until ctx ends.
func (s *service) follow(ctx context.Context, hangup <-chan os.Signal) {
	ticker := time.NewTicker(followEvery)
	defer ticker.Stop()
	files := newFileWatch(s.config.files)
	secrets := newSecretWatch(s.config.sites, s.log)
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangup:
			files.changed() // what is read now needs no second reload
			for _, secret := range s.loader.secrets {
				_ = secret.Reload() // the watch says what came of it
			}
			s.reload("SIGHUP")
		case <-ticker.C:
			if changed := files.changed(); len(changed) > 0 {
				s.reload(strings.Join(changed, ", ") + " changed")
			}
		}
		if s.cert != nil {
			s.cert.follow()
		}
		secrets.look()
	}
}

// reload builds all of the new configuration and swaps it in, or says why the old one stays.
func (s *service) reload(why string) {
	c := s.loader.load()
	fatal := c.problems.without(func(f finding) bool { return f.passing })
	if len(fatal) == 0 {
		err := s.handler.Reload(c.proxyConfig(s.log))
		if err == nil {
			s.config = c
			s.log.Info("configuration reloaded", "because", why)
			return
		}
		fatal = c.refused(err)
	} else {
		s.handler.RefuseReload()
	}
	for _, f := range fatal {
		s.log.Error("the configuration in use stays: "+f.Message, "because", why)
	}
}

// secretWatch logs when a secret comes, goes or changes, by its fingerprint.
type secretWatch struct {
	log  *slog.Logger
	list []watchedSecret
}

type watchedSecret struct {
	variable string
	source   *signer.Secret
	since    time.Time
	lost     bool
}

func newSecretWatch(sites []*site, log *slog.Logger) *secretWatch {
	w := &secretWatch{log: log}
	for _, s := range sites {
		if s.vars.SecretFile != "" {
			w.add(watchedSecret{variable: s.variable("SECRET_FILE"), source: s.secret})
		}
		if s.vars.HelpCenterSecretFile != "" {
			w.add(watchedSecret{variable: s.variable("HELP_CENTER_SECRET_FILE"), source: s.helpCtr})
		}
	}
	return w
}

func (w *secretWatch) add(s watchedSecret) {
	if slices.ContainsFunc(w.list, func(have watchedSecret) bool { return have.source == s.source }) {
		return
	}
	s.since, s.lost = s.source.Since(), s.source.Err() != nil
	w.list = append(w.list, s)
}

func (w *secretWatch) look() {
	for i := range w.list {
		s := &w.list[i]
		if err := s.source.Err(); err != nil {
			if !s.lost {
				w.log.Error(s.variable+" cannot be used, no token is signed until it can", "error", err)
			}
			s.lost = true
			continue
		}
		since := s.source.Since()
		if !s.lost && since.Equal(s.since) {
			continue
		}
		s.lost, s.since = false, since
		w.log.Info("secret read", "variable", s.variable, "fingerprint", s.source.Fingerprint(), "bytes", s.source.Len())
		if s.source.Len() < 32 {
			w.log.Warn(s.variable + " holds a secret under 32 bytes; some verifiers refuse it")
		}
	}
}
