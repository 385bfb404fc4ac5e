package signer

import (
	"encoding/json"
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// vectors are made by testdata/vectors.py, which shares nothing with this package.
type vectors struct {
	Now         int64
	Secret      string
	Fingerprint string
	Tokens      []struct {
		Name, Kind, Kid, TTL, Token string
		OmitEmail                   bool
		Person                      Person
	}
	Visitors []struct{ ID, Email, Hash string }
}

func loadVectors(t *testing.T) vectors {
	t.Helper()
	data, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	if len(v.Tokens) < 6 || len(v.Visitors) < 2 {
		t.Fatalf("only %d token and %d visitor vectors", len(v.Tokens), len(v.Visitors))
	}
	return v
}

func at(seconds int64) func() time.Time {
	return func() time.Time { return time.Unix(seconds, 999_999_999) }
}

func TestGoldenTokens(t *testing.T) {
	v := loadVectors(t)
	kinds := map[string]Kind{"chat": Chat, "messaging": Messaging}
	for _, tt := range v.Tokens {
		t.Run(tt.Name, func(t *testing.T) {
			var ttl time.Duration
			if tt.TTL != "" {
				var err error
				if ttl, err = time.ParseDuration(tt.TTL); err != nil {
					t.Fatal(err)
				}
			}
			kind := kinds[tt.Kind]
			s := mustNew(t, Config{Kind: kind, Secret: NewSecret(v.Secret), KeyID: tt.Kid, TTL: ttl, OmitEmail: tt.OmitEmail, Now: at(v.Now)})
			if kind.String() != tt.Kind {
				t.Errorf("kind prints as %q", kind)
			}
			for range 2 { // the second on used working memory
				if got := mustSign(t, s, tt.Person); got != tt.Token {
					t.Errorf("token = %s\nwant    %s\nclaims = %s\nwant     %s", got, tt.Token, part(t, got, 1), part(t, tt.Token, 1))
				}
			}
			if _, _, problems := Inspect(tt.Token, kind, NewSecret(v.Secret), time.Unix(v.Now, 0)); problems != nil {
				t.Errorf("Inspect reports %v", problems)
			}
		})
	}
}

func TestGoldenVisitors(t *testing.T) {
	v := loadVectors(t)
	s := mustNew(t, Config{Secret: NewSecret(v.Secret)})
	for _, tt := range v.Visitors {
		got, err := s.Visitor(tt.ID, tt.Email)
		if err != nil || got != tt.Hash {
			t.Errorf("Visitor(%q, %q) = %q, %v, want %q", tt.ID, tt.Email, got, err, tt.Hash)
		}
	}
	if got := NewSecret(v.Secret).Fingerprint(); got != v.Fingerprint {
		t.Errorf("fingerprint = %q, want %q", got, v.Fingerprint)
	}
}

func TestVisitor(t *testing.T) {
	chat := mustNew(t, Config{Secret: NewSecret(testSecret)})
	messaging := mustNew(t, Config{Kind: Messaging, KeyID: "k", Secret: NewSecret(testSecret)})
	other := mustNew(t, Config{Secret: NewSecret(testSecret + "x")})
	hash := func(s *Signer, id, email string) string {
		t.Helper()
		v, err := s.Visitor(id, email)
		if err != nil {
			t.Fatal(err)
		}
		if !regexp.MustCompile(`^[A-Za-z0-9_-]{22}$`).MatchString(v) {
			t.Fatalf("Visitor = %q, want 22 cookie-safe characters", v)
		}
		return v
	}
	same := hash(chat, "ab", "c@example.com")
	if got := hash(messaging, "ab", "c@example.com"); got != same {
		t.Errorf("the kind of token changes the hash")
	}
	for name, got := range map[string]string{
		"another id":       hash(chat, "ac", "c@example.com"),
		"another address":  hash(chat, "ab", "d@example.com"),
		"a moved boundary": hash(chat, "abc", "@example.com"),
		"another secret":   hash(other, "ab", "c@example.com"),
	} {
		if got == same {
			t.Errorf("%s leaves the hash the same", name)
		}
	}
	if _, err := chat.Visitor("", "c@example.com"); !errors.Is(err, ErrNoID) {
		t.Errorf("without an id: %v, want ErrNoID", err)
	}
	if _, err := mustNew(t, Config{Secret: NewSecret(" ")}).Visitor("1", ""); !errors.Is(err, ErrNoSecret) {
		t.Errorf("without a secret: %v, want ErrNoSecret", err)
	}
}

func TestHelpCenterToken(t *testing.T) {
	s := mustNew(t, Config{Kind: HelpCenter, Secret: NewSecret(testSecret), Now: at(1_700_000_000)})
	form := regexp.MustCompile(`^\{"name":"Ada Lovelace","email":"ada@example\.com","iat":1699999990,"jti":"([A-Za-z0-9_-]{22})"\}$`)
	seen := map[string]bool{}
	for range 1000 {
		claims := part(t, mustSign(t, s, testPerson), 1)
		m := form.FindSubmatch(claims)
		if m == nil {
			t.Fatalf("claims = %s", claims)
		}
		if seen[string(m[1])] {
			t.Fatalf("jti %s came twice", m[1])
		}
		seen[string(m[1])] = true
	}
	if _, err := s.Sign(Person{Email: "ada@example.com"}); err != nil {
		t.Errorf("a Help Center token needs no id: %v", err)
	}
}

func TestSignRefuses(t *testing.T) {
	tests := []struct {
		name   string
		kind   Kind
		person Person
		want   error
	}{
		{"chat without id", Chat, Person{Email: "a@b.example"}, ErrNoID},
		{"chat with a blank id", Chat, Person{ID: " \t", Email: "a@b.example"}, ErrNoID},
		{"chat with an id that is not UTF-8", Chat, Person{ID: "a\xff", Email: "a@b.example"}, ErrNoID},
		{"chat without address", Chat, Person{ID: "1"}, ErrNoEmail},
		{"chat with a malformed address", Chat, Person{ID: "1", Email: "a b@c.example"}, ErrBadEmail},
		{"help center without address", HelpCenter, Person{ID: "1"}, ErrNoEmail},
		{"help center with a malformed address", HelpCenter, Person{ID: "1", Email: "a@b@c"}, ErrBadEmail},
		{"messaging without id", Messaging, Person{Email: "a@b.example"}, ErrNoID},
		{"messaging with an over-long id", Messaging, Person{ID: strings.Repeat("é", 256)}, ErrNoID},
		{"messaging with the longest id", Messaging, Person{ID: strings.Repeat("é", 255)}, nil},
		{"chat with a long id", Chat, Person{ID: strings.Repeat("x", 256), Email: "a@b.example"}, nil},
		{"messaging with a malformed address", Messaging, Person{ID: "1", Email: "a@b@c", EmailVerified: true}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := mustNew(t, Config{Kind: tt.kind, Secret: NewSecret(testSecret), KeyID: "k"})
			token, err := s.Sign(tt.person)
			if !errors.Is(err, tt.want) || (err == nil) != (token != "") {
				t.Errorf("Sign = %q, %v, want %v", token, err, tt.want)
			}
			if err != nil && tt.person.Email != "" && strings.Contains(err.Error(), tt.person.Email) {
				t.Errorf("the error repeats personal data: %v", err)
			}
			if tt.person.Email == "a@b@c" && err == nil && rawClaims(t, token)["email"] != nil {
				t.Error("a malformed address is in the token")
			}
		})
	}
}

func TestEmails(t *testing.T) {
	good := []string{
		"a@b", "ada@example.com", "a.b+c_d-e@sub.example.co", "o'neil@example.ie", "a..b@example.jp", "A1@EXAMPLE.COM",
		"x@xn--bcher-kva.example", strings.Repeat("a", 64) + "@example.com",
	}
	bad := []string{
		"@", "a", "@b", "a@", "a@b@c", "a b@c", "a@b c", " a@b", "a@b ", "a@b\n", "a\x00@b", "a\x7f@b", "josé@example.es", "a@exämple.de",
		"Ada <a@b>", "<a@b>", "a,b@c", "a@b;c@d", `"a"@b`, "a@b..c", "a@.b", "a@b.", "a@-b", "a@b-", "a@[127.0.0.1]",
		"a@" + strings.Repeat("b", 64), strings.Repeat("a", 243) + "@example.com",
	}
	for _, email := range good {
		if !wellFormedEmail(email) {
			t.Errorf("%q is refused", email)
		}
	}
	for _, email := range bad {
		if wellFormedEmail(email) {
			t.Errorf("%q is accepted", email)
		}
	}
}

func TestNames(t *testing.T) {
	tests := []struct {
		person Person
		want   string
	}{
		{Person{ID: "1", Name: "Ada", Email: "a@b"}, "Ada"},
		{Person{ID: "1", Name: " \u3000", Email: "ada@b"}, "ada"},
		{Person{ID: "1"}, "1"},
		{Person{ID: "1", Email: "@b"}, "1"},
		{Person{ID: "1", Email: "not an address"}, "1"},
		{Person{ID: "1", Name: "a\xff\xfeb"}, "a\uFFFD\uFFFDb"},
		{Person{ID: "1", Name: "\uFFFD\u2028é\U0001F600"}, "\uFFFD\u2028é\U0001F600"},
		{Person{ID: "1", Name: "\x00\x1f\x7f\"\\/<>&"}, "\x00\x1f\x7f\"\\/<>&"},
	}
	s := mustNew(t, Config{Kind: Messaging, Secret: NewSecret(testSecret), KeyID: "k"})
	for _, tt := range tests {
		token := mustSign(t, s, tt.person)
		if !utf8.Valid(part(t, token, 1)) {
			t.Errorf("claims of %q are not UTF-8", tt.person.Name)
		}
		if got := rawClaims(t, token)["name"]; got != tt.want {
			t.Errorf("name of %+v = %q, want %q", tt.person, got, tt.want)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	secret := NewSecret(testSecret)
	tests := []struct {
		name   string
		config Config
		fields []string
	}{
		{"everything at once", Config{Kind: 7, TTL: time.Hour, KeyID: "a\nb"}, []string{"Kind", "Secret", "KeyID", "TTL"}},
		{"messaging without key id", Config{Kind: Messaging, Secret: secret, KeyID: " "}, []string{"KeyID"}},
		{"key id that is not UTF-8", Config{Secret: secret, KeyID: "\xff"}, []string{"KeyID"}},
		{"a second too long", Config{Secret: secret, TTL: 7*time.Minute + time.Second}, []string{"TTL"}},
		{"expired when made", Config{Secret: secret, TTL: 10*time.Second + 999*time.Millisecond}, []string{"TTL"}},
		{"negative", Config{Secret: secret, TTL: -time.Minute}, []string{"TTL"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := New(tt.config)
			if err == nil || s != nil {
				t.Fatalf("New = %v, %v, want an error", s, err)
			}
			lines := strings.Split(err.Error(), "\n")
			if len(lines) != len(tt.fields) {
				t.Fatalf("%d problems, want %d:\n%v", len(lines), len(tt.fields), err)
			}
			for i, field := range tt.fields {
				if !strings.HasPrefix(lines[i], field+": ") {
					t.Errorf("problem %q, want one of field %s", lines[i], field)
				}
			}
		})
	}
	for _, ttl := range []time.Duration{11 * time.Second, 7 * time.Minute} {
		if _, err := New(Config{Secret: secret, TTL: ttl}); err != nil {
			t.Errorf("TTL %v: %v", ttl, err)
		}
	}
}
