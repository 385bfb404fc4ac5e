package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"
)

// target is where the upstream is, taken apart.
type target struct {
	network, address string // to connect to
	host             string // name or address without the port; "" for a Unix socket
	tls              bool
}

func targetOf(upstream string) target {
	if path, ok := strings.CutPrefix(upstream, "unix://"); ok {
		return target{network: "unix", address: path}
	}
	u, _ := url.Parse(upstream) // judged when the configuration was loaded
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return target{network: "tcp", address: net.JoinHostPort(u.Hostname(), port), host: u.Hostname(), tls: u.Scheme == "https"}
}

// visitUpstreamAddress looks the upstream's name up, connects to it, and shakes hands.
func (d *doctor) visitUpstreamAddress(ctx context.Context) bool {
	v := &d.site.vars
	var config *tls.Config
	t := targetOf(v.Upstream)
	if t.tls {
		config = upstreamTLS(d.site)
	}
	return d.visitAddress(ctx, t, config, d.site.variable("UPSTREAM"), func(err error) string {
		return tlsRemedy(err, "Put the certificate of the authority that issued it into a file and name that in "+d.site.variable("UPSTREAM_CA_FILE")+".",
			"Write "+strings.Replace(v.Upstream, "https:", "http:", 1)+" into "+d.site.variable("UPSTREAM")+".",
			"Write the name that the certificate is for into "+d.site.variable("UPSTREAM")+".")
	})
}

func upstreamTLS(s *site) *tls.Config {
	c := &tls.Config{InsecureSkipVerify: s.vars.UpstreamInsecure, MinVersion: tls.VersionTLS12}
	if len(s.ca) > 0 {
		c.RootCAs = x509.NewCertPool()
		c.RootCAs.AppendCertsFromPEM(s.ca)
	}
	return c
}

// visitAddress visits the stations name, connection and tls.
func (d *doctor) visitAddress(ctx context.Context, t target, config *tls.Config, variable string, remedy func(error) string) bool {
	ctx, cancel := context.WithTimeout(ctx, d.options.timeout)
	defer cancel()
	if t.network == "tcp" && net.ParseIP(t.host) == nil {
		addresses, err := d.resolve(ctx, t.host)
		if err != nil {
			d.fail("name", fmt.Sprintf("%s is not known to this machine's name service: %v", t.host, err),
				"Correct the name in "+variable+", or make it known where the proxy runs (in containers: a network that both are in).")
			return false
		}
		d.ok("name", "%s is %s", t.host, strings.Join(addresses, ", "))
	}
	start := time.Now()
	conn, err := d.dial(ctx, t)
	if err != nil {
		d.fail("connection", fmt.Sprintf("%s cannot be reached: %v", t.address, rootCause(err)),
			"Start the site, or correct "+variable+". In a container, localhost is the container itself; firewalls and network policies must let the proxy through.")
		return false
	}
	defer conn.Close()
	d.ok("connection", "%s in %v", t.address, time.Since(start).Round(100*time.Microsecond))
	if !t.tls {
		return true
	}
	config = config.Clone()
	config.ServerName = t.host
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		d.fail("tls", "the handshake fails: "+err.Error(), remedy(err))
		return false
	}
	leaf := secure.ConnectionState().PeerCertificates[0]
	text := fmt.Sprintf("%s, certificate until %s", tls.VersionName(secure.ConnectionState().Version), leaf.NotAfter.Format(time.DateOnly))
	if config.InsecureSkipVerify {
		d.warn("tls", text+", not checked", "Name the authority's certificate in "+d.site.variable("UPSTREAM_CA_FILE")+" instead of leaving it unchecked.")
		return true
	}
	d.ok("tls", "%s", text)
	return true
}

// dial connects to a target, by the addresses that doctor's own look-up gives.
func (d *doctor) dial(ctx context.Context, t target) (net.Conn, error) {
	dialer := new(net.Dialer)
	if t.network != "tcp" || net.ParseIP(t.host) != nil {
		return dialer.DialContext(ctx, t.network, t.address)
	}
	addresses, err := d.resolve(ctx, t.host)
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(t.address)
	if err != nil {
		return nil, err
	}
	var conn net.Conn
	for _, a := range addresses {
		if conn, err = dialer.DialContext(ctx, "tcp", net.JoinHostPort(a, port)); err == nil {
			return conn, nil
		}
	}
	return nil, err
}

// tlsRemedy chooses what to do by why a handshake failed.
func tlsRemedy(err error, authority, plain, name string) string {
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &record):
		return "This port does not speak TLS. " + plain
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "Renew the certificate there, or correct this machine's clock."
	case errors.As(err, &host):
		return name
	case errors.As(err, &unknown):
		return authority
	}
	return "See which TLS versions and names the other side has: openssl s_client -connect …"
}

// rootCause is the last error of a chain: "connection refused" without the repetition around it.
func rootCause(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return errors.New("no answer in time")
	}
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}
