package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"
)

// certificate is the listener's certificate, which follows its files.
type certificate struct {
	certFile, keyFile string
	log               *slog.Logger
	current           atomic.Pointer[tls.Certificate]

	// pair is the contents that were tried last, good or not, so that a pair that does not fit is not tried, and
	// complained about, every second. Only reload touches it, which runs in one goroutine.
	pair [2][]byte
}

func newCertificate(certFile, keyFile string, log *slog.Logger) (*certificate, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile, log: log}
	if _, err := c.reload(); err != nil {
		return nil, err
	}
	return c, nil
}

// reload reads both files and takes them into use together. On an error the certificate in use stays; the error comes
// once for the same contents. While a renewal is half written the two files do not fit, and a later call finds them
// whole.
func (c *certificate) reload() (changed bool, err error) {
	cert, err := readLimited(c.certFile)
	if err != nil {
		return false, fmt.Errorf("reading the certificate: %w", err)
	}
	key, err := readLimited(c.keyFile)
	if err != nil {
		return false, fmt.Errorf("reading the certificate's key: %w", err)
	}
	if bytes.Equal(cert, c.pair[0]) && bytes.Equal(key, c.pair[1]) {
		return false, nil
	}
	c.pair = [2][]byte{cert, key}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return false, fmt.Errorf("%s and %s do not go together: %w", c.certFile, c.keyFile, err)
	}
	c.current.Store(&pair)
	return true, nil
}

// follow reloads and logs what came of it.
func (c *certificate) follow() {
	changed, err := c.reload()
	switch {
	case err != nil:
		c.log.Warn("the certificate in use stays", "error", err)
	case changed:
		leaf := c.current.Load().Leaf
		c.log.Info("certificate renewed", "until", leaf.NotAfter.Format(time.RFC3339))
	}
}

// config is the listener's TLS configuration: TLS 1.2 with forward secrecy and TLS 1.3, as Go's defaults have it.
func (c *certificate) config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2", "http/1.1", "http/1.0"}, // the last is all that some old clients offer
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return c.current.Load(), nil
		},
	}
}
