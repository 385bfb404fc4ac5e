package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

var quietLog = log.New(io.Discard, "", 0)

// TestSoak is an operator's bad week in a few seconds: three sites, and visitors who do everything at once, while files
// change, secrets and certificates are renewed, and the sites themselves go down and come back. No request fails but at
// a site that was down, every byte is right, every token is for who asked for it and signed with what may sign, and in
// the end nothing is left over.
//
// ZCHATPROXY_SOAK sets how long it takes, ZCHATPROXY_SEED what happens.
func TestSoak(t *testing.T) {
	length := 3 * time.Second
	if thorough() {
		length = 2 * time.Minute
	}
	if text := os.Getenv("ZCHATPROXY_SOAK"); text != "" {
		var err error
		if length, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("ZCHATPROXY_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("ZCHATPROXY_SEED=%d", seed)
	s := newSoak(t, seed)

	s.run(length / 5)
	early := s.rest()
	s.run(length - length/5)
	late := s.rest()
	s.report(early, late)
}

// soakIdle is how long a visitor's connection may be idle.
const soakIdle = 10 * time.Second

// soak is the whole of it.
type soak struct {
	t         *testing.T
	seed      uint64
	phase     uint64
	sites     []*soakSite
	p         *process
	idle      usage // before anybody came
	cert, key string
	serial    times

	ops       []atomic.Int64 // of each of soakOps
	excused   atomic.Int64   // failures at a site that was down
	failed    atomic.Int64
	reloads   atomic.Int64
	rotations atomic.Int64
	restarts  atomic.Int64
}

func newSoak(t *testing.T, seed uint64) *soak {
	dir := t.TempDir()
	s := &soak{t: t, seed: seed, ops: make([]atomic.Int64, len(soakOps)), cert: filepath.Join(dir, "cert.pem"), key: filepath.Join(dir, "key.pem")}
	random := rand.New(rand.NewPCG(seed, 0))
	s.sites = []*soakSite{
		newSoakSite(t, "one.example", "tcp", "127.0.0.1:0", random),
		newSoakSite(t, "two.example", "tcp", "127.0.0.1:0", random),
		newSoakSite(t, "three.example", "unix", filepath.Join(dir, "site.sock"), random),
	}
	s.renewCertificate()
	env := []string{"ZCHAT_TLS_CERT_FILE=" + s.cert, "ZCHAT_TLS_KEY_FILE=" + s.key, "ZCHAT_EMAIL_VERIFIED=true", fmt.Sprint("ZCHAT_IDLE_TIMEOUT=", soakIdle)}
	for i, site := range s.sites {
		site.secretFile, site.settingsFile = filepath.Join(dir, fmt.Sprint("secret", i)), filepath.Join(dir, fmt.Sprint("settings", i))
		s.rotateSecret(site, 0)
		s.repaint(site, 0)
		site := func(name, value string) { env = append(env, fmt.Sprintf("ZCHAT_SITES_%d_%s=%s", i, name, value)) }
		site("HOSTS", s.sites[i].host)
		site("UPSTREAM", s.sites[i].url())
		site("SECRET_FILE", s.sites[i].secretFile)
		site("SETTINGS_FILE", s.sites[i].settingsFile)
	}
	// The first has the Help Center's secret too, the second is for Messaging.
	s.sites[0].helpDeskFile = filepath.Join(dir, "help")
	s.rotateHelpDesk(s.sites[0], 0)
	env = append(env, "ZCHAT_SITES_0_HELP_CENTER_SECRET_FILE="+s.sites[0].helpDeskFile,
		"ZCHAT_SITES_1_WIDGET=messaging", "ZCHAT_SITES_1_KEY_ID=app_1", "ZCHAT_SITES_1_UPSTREAM_INSECURE=true")
	s.p = startMetered(t, env...)
	s.idle = s.p.usage()
	return s
}

func (s *soak) rotateSecret(site *soakSite, n int) {
	secret := fmt.Sprintf("secret of %s, version %d, long enough", site.host, n)
	site.secret.change(secret, func() { rewrite(s.t, site.secretFile, secret+"\n") })
}

func (s *soak) rotateHelpDesk(site *soakSite, n int) {
	secret := fmt.Sprintf("help center of %s, version %d, long enough", site.host, n)
	site.helpDesk.change(secret, func() { rewrite(s.t, site.helpDeskFile, secret) })
}

func (s *soak) repaint(site *soakSite, n int) {
	colour := fmt.Sprintf("#%06x", n)
	site.colour.change(colour, func() { rewrite(s.t, site.settingsFile, fmt.Sprintf(`{"webWidget":{"color":{"theme":%q}}}`, colour)) })
}

func (s *soak) renewCertificate() {
	n := s.rotations.Add(1)
	s.serial.change(fmt.Sprint(n), func() { writeCertificate(s.t, s.cert, s.key, n) })
}

// run lets visitors in for some time, and trouble happen.
func (s *soak) run(length time.Duration) {
	s.phase++
	ctx, cancel := context.WithTimeout(context.Background(), length)
	defer cancel()
	var wg sync.WaitGroup
	for i := range 12 {
		v := newSoakVisitor(s, i)
		wg.Go(func() {
			for ctx.Err() == nil && s.failed.Load() < 10 {
				v.act()
			}
			v.leave()
		})
	}
	wg.Go(func() { s.trouble(ctx) })
	wg.Wait()
	if s.failed.Load() > 0 {
		s.t.Fatalf("%d failures; again with ZCHATPROXY_SEED=%d", s.failed.Load(), s.seed)
	}
}

// trouble is what operators and their machines do.
func (s *soak) trouble(ctx context.Context) {
	random := rand.New(rand.NewPCG(s.seed, 1000+s.phase))
	pace := time.NewTicker(50 * time.Millisecond)
	defer pace.Stop()
	for n := int(s.phase * 1_000_000); ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-pace.C:
		}
		site := s.sites[random.IntN(len(s.sites))]
		switch random.IntN(6) {
		case 0:
			s.rotateSecret(site, n)
		case 1:
			s.repaint(site, n)
		case 2:
			s.renewCertificate()
		case 3:
			s.rotateHelpDesk(s.sites[0], n)
		case 4:
			site.down()
			<-pace.C
			site.up()
			s.restarts.Add(1)
		case 5: // nothing but the reload
		}
		if random.IntN(2) == 0 {
			s.p.signal(syscall.SIGHUP)
			s.reloads.Add(1)
		}
	}
}

// rest waits until everything is quiet and the present files count, and reads the meter.
func (s *soak) rest() usage {
	s.t.Helper()
	s.p.signal(syscall.SIGHUP)
	for _, site := range s.sites {
		eventually(s.t, "the last secret and settings of "+site.host, func() bool {
			v := newSoakVisitor(s, 0)
			defer v.leave()
			v.site = site
			began := time.Now()
			token, err := v.token("/__zchat/jwt")
			if err == nil {
				err = checkToken(token, []string{site.secret.now()}, v.person)
			}
			if err == nil {
				err = v.page(v.client, "identity", "whole", began)
			}
			return err == nil && v.lastColour == site.colour.now() && v.lastSerial == s.serial.now()
		})
		site.server.CloseClientConnections()
	}
	if thorough() {
		// net/http remembers visitors' connections for as long as they might have been idle.
		v := s.p.visit(s.t)
		v.send("GET /json HTTP/1.1\r\nHost: %s\r\n\r\n", s.sites[0].host)
		if got := v.answer(); !strings.HasPrefix(got, "200 ") {
			s.t.Errorf("%q", got)
		}
		v.wants("end")
		s.sites[0].server.CloseClientConnections()
	}
	return s.p.settled(s.t, s.idle)
}

func (s *soak) report(early, late usage) {
	t := s.t
	var did []string
	for i := range s.ops {
		did = append(did, fmt.Sprint(s.ops[i].Load(), " ", soakOps[i].name))
	}
	t.Log(strings.Join(did, ", "))
	t.Logf("%d reloads by signal, %d certificates, %d restarts of sites; %d failures at a site that was down", s.reloads.Load(), s.rotations.Load(), s.restarts.Load(), s.excused.Load())
	t.Logf("early %+v, late %+v", early, late)
	// Most of this is what net/http remembers of connections to the site with HTTP/2 that went down in the last 90 s.
	if grown := late.memory() - early.memory(); grown > 8<<20 {
		t.Errorf("%d bytes more are in use late than early", grown)
	}
	s.p.signal(syscall.SIGTERM)
	if code := s.p.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if out := s.p.output(); strings.Contains(out, "panic") || strings.Contains(out, "DATA RACE") || strings.Contains(out, "superfluous") || strings.Contains(out, "connections cut") {
		t.Errorf("the log has something to say:\n%s", out)
	}
}
