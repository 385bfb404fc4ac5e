package signer

import (
	"bytes"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// ErrNoSecret says that there is no secret to sign with at the moment: it is
// empty, or its file is missing, empty or unreadable. The error that wraps it says
// which. It goes away by itself when the file is back.
var ErrNoSecret = errors.New("no usable secret")

const (
	// rereadAfter bounds how long a secret that has been replaced is still used:
	// the file is read again at the first use after this time. Reading on use
	// rather than watching needs no goroutine and cannot miss an event, and
	// reading rather than comparing time stamps sees a change whatever the
	// file's mtime, inode or chain of symbolic links.
	rereadAfter = time.Second

	// waitAfter is when callers stop using a reading that somebody else is just
	// renewing, and wait for the new one.
	waitAfter = 2 * rereadAfter

	// maxSecretFile is far above any secret, and small enough that a wrong path
	// does no harm.
	maxSecretFile = 64 << 10

	// rewriteGrace is waited once when a file that held a secret turns up empty
	// or missing: whoever writes a file in place truncates or removes it first.
	rewriteGrace = 10 * time.Millisecond
)

const redacted = "[redacted secret]"

// Secret is a source of the shared secret: a fixed value or a file that may
// change while the program runs. It is safe for concurrent use and must not be
// copied. It prints as a placeholder through fmt, encoding/json and log/slog.
//
// The nil and the zero Secret have no value: every use ends in ErrNoSecret.
type Secret struct {
	path string // "" for a fixed value
	now  func() time.Time
	mu   sync.Mutex // held while reading the file
	last atomic.Pointer[reading]
}

// reading is what the source said at one time: a key, or why there is none.
type reading struct {
	key *key
	err error
	at  time.Time
}

// NewSecret returns a secret with a fixed value, from which surrounding white
// space is cut. The bytes are used as they are; nothing is decoded.
func NewSecret(value string) *Secret {
	s := &Secret{now: time.Now}
	s.last.Store(s.judge([]byte(value), nil))
	return s
}

// SecretFile returns the secret in the named file, without surrounding white
// space and without a UTF-8 byte order mark. The file is read now, and again on
// use, at most once a second. While it is missing, empty or unreadable every use
// ends in ErrNoSecret: a secret that was taken away is not used any more.
func SecretFile(path string) *Secret { return secretFile(path, time.Now) }

func secretFile(path string, now func() time.Time) *Secret {
	s := &Secret{path: path, now: now}
	s.last.Store(s.readLocked(nil)) // nobody else has s yet
	return s
}

// Err returns nil when there is a secret to sign with now, and else an error
// that wraps ErrNoSecret and says what is wrong.
func (s *Secret) Err() error {
	_, err := s.current()
	return err
}

// Reload reads the file now, whenever it was read last, and returns what Err
// would. A fixed value stays as it is.
func (s *Secret) Reload() error {
	if s != nil && s.path != "" {
		s.mu.Lock()
		s.last.Store(s.readLocked(s.last.Load()))
		s.mu.Unlock()
	}
	return s.Err()
}

// Fingerprint returns eight hexadecimal digits that are the same wherever the
// same secret is in use, to compare installations by; "" without a secret. They
// are cut from a slow one-way function, and of no use to whoever reads them.
func (s *Secret) Fingerprint() string {
	k, err := s.current()
	if err != nil {
		return ""
	}
	return k.fingerprint()
}

// Len returns the secret's length in bytes, 0 without one. Some verifiers want at
// least 32 (RFC 7518 section 3.2).
func (s *Secret) Len() int {
	k, err := s.current()
	if err != nil {
		return 0
	}
	return len(k.value())
}

// Since returns when this process first saw the secret's present value; the zero
// time without one.
func (s *Secret) Since() time.Time {
	k, err := s.current()
	if err != nil {
		return time.Time{}
	}
	return k.since
}

// String returns a placeholder.
func (s *Secret) String() string { return redacted }

// GoString returns a placeholder.
func (s *Secret) GoString() string { return redacted }

// Format prints a placeholder, whatever the verb: %d and the like would walk
// through the fields otherwise.
func (s *Secret) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// LogValue returns a placeholder.
func (s *Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns a placeholder.
func (s *Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// current returns the key to use now. It reads the file when that is due; one
// caller does so, and the others go on with what the last second's reading said,
// a missing secret included.
func (s *Secret) current() (*key, error) {
	if s == nil {
		return nil, ErrNoSecret
	}
	r := s.last.Load()
	if r == nil {
		return nil, ErrNoSecret
	}
	if s.path != "" {
		if age := s.now().Sub(r.at); age < 0 || age >= rereadAfter {
			r = s.renew(age)
		}
	}
	return r.key, r.err
}

func (s *Secret) renew(age time.Duration) *reading {
	if age >= 0 && age < waitAfter {
		if !s.mu.TryLock() {
			return s.last.Load()
		}
	} else {
		s.mu.Lock()
	}
	defer s.mu.Unlock()
	r := s.last.Load()
	if age := s.now().Sub(r.at); age >= 0 && age < rereadAfter {
		return r // renewed while this caller waited for the lock
	}
	r = s.readLocked(r)
	s.last.Store(r)
	return r
}

// readLocked reads the file. The key of the reading before, if the value is
// still the same, is taken over with its prepared states.
func (s *Secret) readLocked(before *reading) *reading {
	hadKey := before != nil && before.key != nil
	data, err := readSecretFile(s.path)
	gone := errors.Is(err, fs.ErrNotExist) || err == nil && len(bytes.TrimSpace(data)) == 0
	if hadKey && gone {
		time.Sleep(rewriteGrace)
		data, err = readSecretFile(s.path)
	}
	if err != nil {
		return &reading{at: s.now(), err: fmt.Errorf("%w: %v", ErrNoSecret, err)}
	}
	return s.judge(data, before)
}

// judge turns the bytes of a value or file into a reading.
func (s *Secret) judge(data []byte, before *reading) *reading {
	r := &reading{at: s.now()}
	what := "the value"
	if s.path != "" {
		what = s.path
		data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
		if bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) {
			r.err = fmt.Errorf("%w: %s is in UTF-16: save it as plain text", ErrNoSecret, what)
			return r
		}
	}
	// The value is copied: what is left of data may be much larger.
	value := []byte(strings.TrimSpace(string(data)))
	switch {
	case len(value) == 0:
		r.err = fmt.Errorf("%w: %s is empty: put the secret from Zendesk's admin pages there", ErrNoSecret, what)
	case before != nil && before.key != nil && subtle.ConstantTimeCompare(before.key.value(), value) == 1:
		r.key = before.key
	default:
		r.key = newKey(value, r.at)
	}
	return r
}

// readSecretFile reads a regular file. It refuses others, since opening a pipe
// or reading a terminal would hold up every token.
func readSecretFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file: name the file that holds the secret", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSecretFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxSecretFile {
		return nil, fmt.Errorf("%s is larger than %d bytes: name the file that holds the secret alone", path, maxSecretFile)
	}
	return data, nil
}
