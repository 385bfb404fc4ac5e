package signer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// testClock is moved by hand.
type testClock struct {
	mu  sync.Mutex
	now time.Time
}

func newTestClock() *testClock { return &testClock{now: time.Unix(1_700_000_000, 0)} }

func (c *testClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *testClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func writeFile(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// replaceFile does what careful writers do: write aside, then rename.
func replaceFile(t *testing.T, path, content string) {
	t.Helper()
	writeFile(t, path+".new", content)
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// signs reports whether s signs under the given secret value now.
func signs(t *testing.T, s *Signer, value string) bool {
	t.Helper()
	token := mustSign(t, s, testPerson)
	return verify(token, newKey([]byte(value), time.Time{})) == nil
}

func TestFixedSecret(t *testing.T) {
	for _, value := range []string{testSecret, "\t" + testSecret + "\r\n", " " + testSecret} {
		s := NewSecret(value)
		if err := s.Err(); err != nil || s.Len() != len(testSecret) || s.Since().IsZero() || s.Reload() != nil {
			t.Errorf("%q: %v, length %d, since %v", value, err, s.Len(), s.Since())
		}
		if !signs(t, mustNew(t, Config{Secret: s}), testSecret) {
			t.Errorf("%q is not used trimmed", value)
		}
	}
	for name, s := range map[string]*Secret{"nil": nil, "zero": {}, "empty": NewSecret(""), "blank": NewSecret(" \n")} {
		if err := s.Err(); !errors.Is(err, ErrNoSecret) {
			t.Errorf("%s: Err = %v, want ErrNoSecret", name, err)
		}
		if err := s.Reload(); !errors.Is(err, ErrNoSecret) {
			t.Errorf("%s: Reload = %v, want ErrNoSecret", name, err)
		}
		if s.Fingerprint() != "" || s.Len() != 0 || !s.Since().IsZero() {
			t.Errorf("%s: %q, %d, %v", name, s.Fingerprint(), s.Len(), s.Since())
		}
	}
}

func TestSecretFileFollowsChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	clock := newTestClock()
	const first, second = "first secret of thirty-two bytes", "second secret of thirty-two bytes"
	secret := secretFile(path, clock.Now)
	s := mustNew(t, Config{Secret: secret})

	if err := secret.Err(); !errors.Is(err, ErrNoSecret) || !strings.Contains(err.Error(), path) {
		t.Fatalf("missing file: %v, want ErrNoSecret with the path", err)
	}
	writeFile(t, path, "\xef\xbb\xbf"+first+"\r\n")
	clock.advance(rereadAfter - 1)
	if secret.Err() == nil {
		t.Fatal("the file was read twice within a second")
	}
	clock.advance(1)
	if !signs(t, s, first) {
		t.Fatal("the file that turned up is not used")
	}
	since := secret.Since()

	// Same length, same modification time: only the bytes tell.
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	clock.advance(rereadAfter)
	if secret.Since() != since {
		t.Error("Since moved without a change")
	}
	writeFile(t, path, strings.Replace(second, "second", "third!", 1))
	if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	clock.advance(rereadAfter)
	if !signs(t, s, strings.Replace(second, "second", "third!", 1)) {
		t.Error("a change under an old time stamp is not seen")
	}
	if !secret.Since().After(since) {
		t.Error("Since did not move with the change")
	}

	for name, destroy := range map[string]func(){
		"removed":    func() { os.Remove(path) },
		"empty":      func() { writeFile(t, path, "") },
		"blank":      func() { writeFile(t, path, " \n\t") },
		"UTF-16":     func() { writeFile(t, path, "\xff\xfes\x00e\x00") },
		"too large":  func() { writeFile(t, path, strings.Repeat("x", maxSecretFile+1)) },
		"directory":  func() { os.Remove(path); os.Mkdir(path, 0o700) },
		"dead link":  func() { os.Remove(path); os.Symlink("nowhere", path) },
		"link cycle": func() { os.Remove(path); os.Symlink(filepath.Base(path), path) },
	} {
		destroy()
		clock.advance(rereadAfter)
		if token, err := s.Sign(testPerson); !errors.Is(err, ErrNoSecret) || token != "" {
			t.Errorf("%s: Sign = %q, %v, want ErrNoSecret", name, token, err)
		}
		if _, err := s.Visitor("1", ""); !errors.Is(err, ErrNoSecret) {
			t.Errorf("%s: Visitor: %v, want ErrNoSecret", name, err)
		}
		os.Remove(path)
		writeFile(t, path, second)
		clock.advance(rereadAfter)
		if !signs(t, s, second) {
			t.Errorf("%s: no recovery", name)
		}
	}
}

// Whoever replaces the file may count on the new secret two seconds later.
func TestSecretFileWithinTwoSeconds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	clock := newTestClock()
	writeFile(t, path, testSecret)
	s := mustNew(t, Config{Secret: secretFile(path, clock.Now)})
	for i := range 20 {
		clock.advance(time.Duration(i) * 100 * time.Millisecond)
		signs(t, s, testSecret) // at some moment of what the last reading is good for
		next := fmt.Sprint(testSecret, i)
		replaceFile(t, path, next)
		clock.advance(2 * time.Second)
		if !signs(t, s, next) {
			t.Fatalf("change %d is not seen after two seconds", i)
		}
	}
}

func TestReloadReadsAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	clock := newTestClock() // stands still
	writeFile(t, path, testSecret)
	secret := secretFile(path, clock.Now)
	s := mustNew(t, Config{Secret: secret})
	replaceFile(t, path, testSecret+"2")
	if !signs(t, s, testSecret) {
		t.Error("the file was read again within a second")
	}
	if err := secret.Reload(); err != nil || !signs(t, s, testSecret+"2") {
		t.Errorf("Reload = %v, and the old secret is in use", err)
	}
	os.Remove(path)
	if err := secret.Reload(); !errors.Is(err, ErrNoSecret) {
		t.Errorf("Reload of a missing file = %v, want ErrNoSecret", err)
	}
}

func TestClockThatGoesBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	clock := newTestClock()
	writeFile(t, path, testSecret)
	s := mustNew(t, Config{Secret: secretFile(path, clock.Now)})
	replaceFile(t, path, testSecret+"2")
	clock.advance(-time.Hour)
	if !signs(t, s, testSecret+"2") {
		t.Error("a clock set back stops the reading")
	}
}

// A volume of Kubernetes is a link to "..data", which is a link to a folder of
// the present version; an update replaces "..data" by rename.
func TestKubernetesSwap(t *testing.T) {
	dir := t.TempDir()
	clock := newTestClock()
	publish := func(version, value string) {
		t.Helper()
		if err := os.Mkdir(filepath.Join(dir, version), 0o700); err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(dir, version, "secret"), value)
		link := filepath.Join(dir, "..data_tmp")
		if err := os.Symlink(version, link); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(link, filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	publish("..2026_1", "secret one")
	path := filepath.Join(dir, "secret")
	if err := os.Symlink(filepath.Join("..data", "secret"), path); err != nil {
		t.Fatal(err)
	}
	s := mustNew(t, Config{Secret: secretFile(path, clock.Now)})
	if !signs(t, s, "secret one") {
		t.Fatal("the first version is not used")
	}
	publish("..2026_2", "secret two")
	if err := os.RemoveAll(filepath.Join(dir, "..2026_1")); err != nil {
		t.Fatal(err)
	}
	clock.advance(rereadAfter)
	if !signs(t, s, "secret two") {
		t.Error("the swap was not seen")
	}
}

// While the file rotates, goroutines sign without an error, each token under a
// value that was in the file; none signs under an old one after a new one was seen
// by it.
func TestRotationUnderLoad(t *testing.T) {
	const goroutines, rotations = 64, 20
	path := filepath.Join(t.TempDir(), "secret")
	clock := newTestClock()
	value := func(i int) string { return fmt.Sprintf("rotated secret number %08d, long", i) }
	keys := make([]*key, rotations)
	for i := range keys {
		keys[i] = newKey([]byte(value(i)), time.Time{})
	}
	writeFile(t, path, value(0))
	secret := secretFile(path, clock.Now)
	s := mustNew(t, Config{Kind: Messaging, KeyID: "k", Secret: secret})
	done := make(chan struct{})
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			p := Person{ID: fmt.Sprint("user-", g)}
			at := 0
			for {
				select {
				case <-done:
					return
				default:
				}
				runtime.Gosched() // two processors are enough for 64 of these
				token, err := s.Sign(p)
				if err != nil {
					t.Error(err)
					return
				}
				for at < rotations && verify(token, keys[at]) != nil {
					at++
				}
				if at == rotations {
					t.Error("a token is signed by none of the values, or by one that was replaced before")
					return
				}
				if got := rawClaims(t, token)["external_id"]; got != p.ID {
					t.Errorf("%s got the token of %s", p.ID, got)
					return
				}
			}
		})
	}
	for i := 1; i < rotations; i++ {
		replaceFile(t, path, value(i))
		clock.advance(rereadAfter)
		// Whoever comes first reads the file; this one makes sure that somebody does.
		for secret.Err() != nil || !bytes.Equal(secret.last.Load().key.value(), []byte(value(i))) {
			if t.Failed() {
				break
			}
			runtime.Gosched()
		}
	}
	close(done)
	wg.Wait()
}

// A writer that truncates the file and then writes must not cost a token.
func TestRewriteInPlace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	clock := newTestClock()
	writeFile(t, path, testSecret)
	s := mustNew(t, Config{Secret: secretFile(path, clock.Now)})
	for i := range 20 {
		writeFile(t, path, "")
		clock.advance(rereadAfter)
		written := make(chan struct{})
		go func() {
			defer close(written)
			os.WriteFile(path, fmt.Append(nil, testSecret, i), 0o600)
		}()
		if _, err := s.Sign(testPerson); err != nil && i > 0 {
			// The writer may be slower than the grace on a busy machine; it
			// must have been late, then.
			select {
			case <-written:
				t.Fatalf("round %d: %v", i, err)
			default:
			}
		}
		<-written
		clock.advance(rereadAfter)
		if !signs(t, s, fmt.Sprint(testSecret, i)) {
			t.Fatalf("round %d: the new value is not used", i)
		}
	}
}

func TestFingerprint(t *testing.T) {
	a, b := NewSecret(testSecret), NewSecret(testSecret+"x")
	path := filepath.Join(t.TempDir(), "secret")
	writeFile(t, path, testSecret+"\n")
	if !regexp.MustCompile(`^[0-9a-f]{8}$`).MatchString(a.Fingerprint()) {
		t.Errorf("fingerprint = %q, want eight hexadecimal digits", a.Fingerprint())
	}
	if a.Fingerprint() == b.Fingerprint() {
		t.Error("two secrets have one fingerprint")
	}
	if got := SecretFile(path).Fingerprint(); got != a.Fingerprint() {
		t.Errorf("fingerprint of the file = %q, of the same value %q", got, a.Fingerprint())
	}
}

// Whatever is printed, logged or encoded, the value does not come out.
func TestSecretDoesNotPrint(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	writeFile(t, path, testSecret)
	for _, secret := range []*Secret{NewSecret(testSecret), SecretFile(path)} {
		signer := mustNew(t, Config{Secret: secret})
		holder := struct {
			Secret *Secret
			hidden *Secret
			Any    any
		}{secret, secret, secret}
		var out bytes.Buffer
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%p", "%T", "%t", "%o"} {
			for _, v := range []any{secret, holder, &holder, Config{Secret: secret}, signer, []*Secret{secret}, map[string]any{"s": secret}, secret.last.Load()} {
				fmt.Fprintf(&out, verb+"\n", v)
			}
		}
		for _, v := range []any{secret, holder, map[string]*Secret{"s": secret}} {
			text, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			out.Write(text)
		}
		for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
			log := slog.New(h)
			log.Info("secret", "secret", secret, "holder", holder, "config", Config{Secret: secret}, "signer", signer)
		}
		log := fmt.Sprint(secret, secret.String(), secret.GoString(), secret.LogValue())
		out.WriteString(log)
		leaks := []string{testSecret, fmt.Sprintf("%x", testSecret), fmt.Sprintf("%X", testSecret), strings.Trim(fmt.Sprint([]byte(testSecret)), "[]"), testSecret[:12]}
		for _, leak := range leaks {
			if i := strings.Index(out.String(), leak); i >= 0 {
				t.Errorf("the secret stands in %q", out.String()[max(0, i-100):min(out.Len(), i+100)])
			}
		}
		if !strings.Contains(log, redacted) {
			t.Errorf("a secret prints as %q", log)
		}
	}
}
