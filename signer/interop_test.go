package signer

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const interopSecret = "0123456789abcdef0123456789ABCDEF-interop"

// verifier is one of the programs in testdata/verifiers, whose README describes
// how they speak.
type verifier struct {
	name    string
	tool    string   // must be on the machine
	probe   []string // exits 0 when the library is there too; nil: the tool is enough
	command []string // the secret's file is appended
	env     func(t *testing.T) []string
}

func verifiers() []verifier {
	script := func(name string) string { return filepath.Join("testdata", "verifiers", name) }
	return []verifier{
		{name: "ruby-jwt", tool: "ruby", probe: []string{"ruby", "-e", "require 'jwt'"}, command: []string{"ruby", script("ruby_jwt.rb")}},
		{name: "jsonwebtoken", tool: "node", command: []string{"node", script("node/verify.js")}, env: nodeModules},
		// Debian's own Python: python3-jose is not in another that may come first in PATH.
		{name: "python-jose", tool: "/usr/bin/python3", probe: []string{"/usr/bin/python3", "-c", "import jose"}, command: []string{"/usr/bin/python3", script("python_jose.py")}},
		{name: "php-jwt", tool: "php", command: []string{"php", "-d", "display_errors=stderr", script("php_jwt.php")}},
		{name: "json_web_token", tool: "escript", probe: []string{"erl", "-noshell", "-eval", "{module, _} = code:load_file(jose), halt(0)."}, command: []string{"escript", script("json_web_token.escript")}},
	}
}

// lacking skips a test whose tool is not on the machine, or fails it where
// everything is to be run.
func lacking(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("ZCHATPROXY_TEST_ALL") == "1" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// nodeModules finds a folder with jsonwebtoken in it: ZCHATPROXY_NODE_MODULES, or one in the user's
// cache folder, which it fills with npm when all tests are asked for.
func nodeModules(t *testing.T) []string {
	t.Helper()
	const variable = "ZCHATPROXY_NODE_MODULES"
	if dir := os.Getenv(variable); dir != "" {
		abs, err := filepath.Abs(dir)
		if err != nil {
			t.Fatal(err)
		}
		return []string{variable + "=" + abs}
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		lacking(t, "no cache folder for Node's packages: set %s: %v", variable, err)
	}
	dir := filepath.Join(cache, "zchatproxy", "verifiers")
	installed := filepath.Join(dir, "node_modules")
	lock, err := os.ReadFile("testdata/verifiers/node/package-lock.json")
	if err != nil {
		t.Fatal(err)
	}
	if have, err := os.ReadFile(filepath.Join(dir, "package-lock.json")); err != nil || !bytes.Equal(have, lock) || !isDir(filepath.Join(installed, "jsonwebtoken")) {
		if os.Getenv("ZCHATPROXY_TEST_ALL") != "1" {
			t.Skipf("jsonwebtoken is not installed: set %s, or ZCHATPROXY_TEST_ALL=1 to install it", variable)
		}
		installNode(t, dir, lock)
	}
	return []string{variable + "=" + installed}
}

func installNode(t *testing.T, dir string, lock []byte) {
	t.Helper()
	manifest, err := os.ReadFile("testdata/verifiers/node/package.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	// The lock file goes last: its presence says that the install was complete.
	if err := os.WriteFile(filepath.Join(dir, "package.json"), manifest, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "package-lock.json"), lock, 0o644); err != nil {
		t.Fatal(err)
	}
	npm := exec.Command("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts")
	npm.Dir = dir
	if out, err := npm.CombinedOutput(); err != nil {
		os.Remove(filepath.Join(dir, "package-lock.json"))
		t.Fatalf("npm ci: %v\n%s", err, out)
	}
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// verdict is one answer of a verifier.
type verdict struct {
	accepted bool
	reason   string
	claims   any
}

// run has v judge the tokens, in order.
func (v verifier) run(t *testing.T, secret string, tokens []string) []verdict {
	t.Helper()
	if _, err := exec.LookPath(v.tool); err != nil {
		lacking(t, "%s is not installed: %v", v.tool, err)
	}
	if v.probe != nil {
		if out, err := exec.Command(v.probe[0], v.probe[1:]...).CombinedOutput(); err != nil {
			lacking(t, "%s is not installed: %v\n%s", v.name, err, out)
		}
	}
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	var in bytes.Buffer
	for _, token := range tokens {
		fmt.Fprintln(&in, base64.StdEncoding.EncodeToString([]byte(token)))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, v.command[0], append(v.command[1:], file)...)
	command.Env = os.Environ()
	if v.env != nil {
		command.Env = append(command.Env, v.env(t)...)
	}
	command.Stdin = &in
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", v.name, err, stderr.Bytes())
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) != len(tokens) {
		t.Fatalf("%s answered %d lines to %d tokens\n%s%s", v.name, len(lines), len(tokens), out, stderr.Bytes())
	}
	verdicts := make([]verdict, len(lines))
	for i, line := range lines {
		verdicts[i] = parseVerdict(t, line)
	}
	return verdicts
}

func parseVerdict(t *testing.T, line string) verdict {
	t.Helper()
	word, rest, _ := strings.Cut(line, " ")
	switch word {
	case "reject":
		return verdict{reason: rest}
	case "accept":
		text, err := base64.StdEncoding.DecodeString(rest)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		v := verdict{accepted: true}
		if err := json.Unmarshal(text, &v.claims); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		return v
	}
	t.Fatalf("a verifier answered %q", line)
	return verdict{}
}

// interopPeople have names as real directories and attackers make them.
var interopPeople = []Person{
	{ID: "user-123456", Email: "ada@example.com", Name: "Ada Lovelace"},
	{ID: "42", Email: "jose.garcia@example.es", Name: "José García Ñandú"},
	{ID: "用户七", Email: "li@example.cn", Name: "李小龍"},
	{ID: "id", Email: "a@example.com", Name: "مريم 👩‍👩‍👧 𝕬"},
	{ID: "quoted", Email: "q@example.com", Name: `"O'Neil" \ </script> & <!-- `},
	{ID: "control", Email: "c@example.com", Name: "a\x01\x1f\tb\u2028\u2029\x7f\x00c"},
	{ID: "broken", Email: "b@example.com", Name: "Andr\xe9 \xed\xa0\x80 \xf0\x28\x8c\x28"},
	{ID: "anonymous-name", Email: "someone+tag@example.com"},
	{ID: "long", Email: "long@example.com", Name: strings.Repeat("é", 5000)},
}

func TestInteroperability(t *testing.T) {
	var tokens []string
	var want []map[string]any
	for kind := Chat; kind <= Messaging; kind++ {
		s := mustNew(t, Config{Kind: kind, Secret: NewSecret(interopSecret), KeyID: "app_5f0c"})
		for _, p := range interopPeople {
			p.EmailVerified = true
			token := mustSign(t, s, p)
			tokens = append(tokens, token)
			want = append(want, rawClaims(t, token))
		}
	}
	for _, v := range verifiers() {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			for i, got := range v.run(t, interopSecret, tokens) {
				if !got.accepted {
					t.Errorf("rejects %s: %s", tokens[i], got.reason)
				} else if diff := cmp.Diff(any(want[i]), got.claims); diff != "" {
					t.Errorf("reads other claims (-signed +read):\n%s", diff)
				}
			}
		})
	}
}

// rejectable is every tampering, and every row of what verifiers reject.
func rejectable(t *testing.T, now time.Time) []badToken {
	good := mustSign(t, mustNew(t, Config{Kind: Chat, Secret: NewSecret(interopSecret), Now: func() time.Time { return now }}), interopPeople[0])
	return append(tampered(t, good), malformed(t, now, []byte(interopSecret))...)
}

// TestVerifiersReject keeps two promises: each library rejects every forgery, and
// whatever one of them rejects, Inspect reports.
func TestVerifiersReject(t *testing.T) {
	now := time.Now()
	bad := rejectable(t, now)
	tokens := make([]string, len(bad))
	for i := range bad {
		tokens[i] = bad[i].token
	}
	for _, v := range verifiers() {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			for i, got := range v.run(t, interopSecret, tokens) {
				if got.accepted && (bad[i].forged || bad[i].rejectedBy[v.name]) {
					t.Errorf("accepts %s: %q", bad[i].name, bad[i].token)
				}
				_, _, problems := Inspect(bad[i].token, Chat, NewSecret(interopSecret), now)
				if !got.accepted && len(problems) == 0 {
					t.Errorf("rejects %s (%s), and Inspect reports nothing: %q", bad[i].name, got.reason, bad[i].token)
				}
			}
		})
	}
}

func TestShortSecretInterop(t *testing.T) {
	const short = "only-31-bytes-long-as-it-should"
	token := mustSign(t, mustNew(t, Config{Kind: Chat, Secret: NewSecret(short)}), interopPeople[0])
	rejecting := map[string]bool{"php-jwt": true, "json_web_token": true}
	for _, v := range verifiers() {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			if got := v.run(t, short, []string{token})[0]; got.accepted == rejecting[v.name] {
				t.Errorf("accepted = %v (%s), want %v", got.accepted, got.reason, !rejecting[v.name])
			}
		})
	}
	_, _, problems := Inspect(token, Chat, NewSecret(short), time.Now())
	if len(problems) != 1 || problems[0].Check != "secret" {
		t.Errorf("Inspect reports %v, want the secret alone", problems)
	}
}
