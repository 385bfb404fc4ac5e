package deploy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"zchatproxy/signer"
)

// newSecretText is what the secret becomes.
const newSecretText = "fedcba9876543210fedcba9876543210fedcba9876543210"

// crowd are visitors who never stop, as the gateway passes them on: each opens pages, asks for tokens, and keeps the
// visitor cookie. Whatever a browser would show as an error is one.
type crowd struct {
	t          *testing.T
	c          *cluster
	old, fresh *signer.Secret

	done   atomic.Int64 // requests
	dying  atomic.Bool  // a replica is being killed
	halves atomic.Int64 // answers that broke off because of that
	posts  atomic.Bool  // the crowd also sends forms
	stop   context.CancelFunc
	wait   sync.WaitGroup

	mu      sync.Mutex
	cookies map[string]map[string]bool // values of the visitor cookie, by person
}

const postPath = "/_site/length"

// gatewayHost is where the gateway connects from.
const gatewayHost = "127.0.0.10"

// fromGateway is a client that connects as the gateway does.
func fromGateway(t *testing.T, host string) *http.Client {
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(host)}}
	transport := &http.Transport{DialContext: dialer.DialContext, DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience}
}

// gather starts the visitors.
func gather(t *testing.T, c *cluster, visitors int) *crowd {
	ctx, stop := context.WithCancel(context.Background())
	k := &crowd{t: t, c: c, old: signer.NewSecret(secretText), fresh: signer.NewSecret(newSecretText), stop: stop, cookies: map[string]map[string]bool{}}
	for i := range visitors {
		client := fromGateway(t, gatewayHost)
		k.wait.Go(func() {
			who, cookie := fmt.Sprintf("c-%d", i%3), ""
			for n := 0; ctx.Err() == nil; n++ {
				if n%5 == 4 {
					client.CloseIdleConnections()
				}
				paths := []string{"/help.html", "/__zchat/jwt"}
				if k.posts.Load() {
					paths = append(paths, postPath)
				}
				for _, path := range paths {
					err := k.visit(client, who, path, &cookie)
					switch {
					case err == nil:
					case errors.Is(err, io.ErrUnexpectedEOF) && k.dying.Load():
						// Its first half had left the replica already: nothing in front can ask for the second one.
						k.halves.Add(1)
					default:
						t.Errorf("%s for %s, request %d: %v", path, who, k.done.Load(), err)
					}
					k.done.Add(1)
				}
			}
		})
	}
	t.Cleanup(k.leave)
	return k
}

func (k *crowd) leave() {
	k.stop()
	k.wait.Wait()
}

// more waits until the crowd has sent some more requests.
func (k *crowd) more() {
	k.t.Helper()
	until := k.done.Load() + 300
	eventually(k.t, "the crowd has sent more requests", func() bool { return k.done.Load() >= until })
}

// visit is one request of somebody, with the visitor cookie as the browser has it.
func (k *crowd) visit(client *http.Client, who, path string, cookie *string) error {
	method, form := "GET", io.Reader(nil)
	if path == postPath {
		method, form = "POST", strings.NewReader("a form")
	}
	r, err := http.NewRequest(method, "http://"+k.c.balancer+path, form)
	if err != nil {
		return err
	}
	r.Host = hostName
	r.Header = http.Header{
		"Accept": {"text/html"}, "Sec-Fetch-Dest": {"document"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {hostName},
		"X-Forwarded-User": {who}, "X-Forwarded-Email": {who + "@example.com"}, "X-Forwarded-Preferred-Username": {who},
	}
	if *cookie != "" {
		r.Header["Cookie"] = []string{"__zchat_visitor=" + *cookie}
	}
	res, err := client.Do(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%d %.200s", res.StatusCode, body)
	}
	for _, set := range res.Cookies() {
		if set.Name != "__zchat_visitor" || set.Value == "" {
			return fmt.Errorf("the cookie %s", set)
		}
		*cookie = set.Value
		k.mu.Lock()
		if k.cookies[who] == nil {
			k.cookies[who] = map[string]bool{}
		}
		k.cookies[who][set.Value] = true
		k.mu.Unlock()
	}
	if *cookie == "" {
		return errors.New("no visitor cookie")
	}
	switch path {
	case "/__zchat/jwt":
		_, err := k.secretOf(string(body))
		return err
	case postPath:
		if want := "6 <nil>"; string(body) != want {
			return fmt.Errorf("the site says %q about the form, want %q", body, want)
		}
		return nil
	}
	if len(scriptElement.FindAll(body, -1)) != 1 || !strings.HasSuffix(strings.TrimSpace(string(body)), "</html>") {
		return fmt.Errorf("a page of %d bytes without the script, or without its end", len(body))
	}
	return nil
}

// secretOf says which secret a good token is signed with.
func (k *crowd) secretOf(token string) (fresh bool, err error) {
	_, _, bad := signer.Inspect(token, signer.Chat, k.old, time.Now())
	if len(bad) == 0 {
		return false, nil
	}
	if _, _, bad := signer.Inspect(token, signer.Chat, k.fresh, time.Now()); len(bad) == 0 {
		return true, nil
	}
	return false, errors.New(bad[0].String())
}

// atEveryReplica asks each replica itself, as HAProxy does, and returns whether all sign with the new secret.
func (k *crowd) atEveryReplica() (allFresh bool) {
	k.t.Helper()
	allFresh = true
	cookies := map[string]bool{}
	for _, r := range k.c.replicas {
		req, err := http.NewRequest("GET", "http://"+r.address+"/__zchat/jwt", nil)
		if err != nil {
			k.t.Fatal(err)
		}
		req.Header = http.Header{"X-Forwarded-User": {"c-0"}, "X-Forwarded-Email": {"c-0@example.com"}}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			k.t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil {
			k.t.Fatal(err)
		}
		fresh, err := k.secretOf(string(body))
		if err != nil {
			k.t.Fatalf("%s: %v", r.name, err)
		}
		allFresh = allFresh && fresh
		for _, set := range res.Cookies() {
			cookies[set.Value] = true
		}
	}
	if allFresh && len(cookies) != 1 {
		k.t.Errorf("the replicas set the visitor cookies %v for one person", cookies)
	}
	return allFresh
}

// held sends requests that the site does not answer yet, and returns when they are there. Their statuses come later, 0
// for none.
func (k *crowd) held(site *legacy, method string, n int) (statuses chan int) {
	k.t.Helper()
	statuses = make(chan int, n)
	for range n {
		client := fromGateway(k.t, gatewayHost)
		go func() {
			status := 0
			r, err := http.NewRequest(method, "http://"+k.c.balancer+"/_site/held", nil)
			if err != nil {
				panic(err)
			}
			if res, err := client.Do(r); err == nil {
				res.Body.Close()
				status = res.StatusCode
			}
			statuses <- status
		}()
	}
	site.awaits(k.t, n)
	return statuses
}

func (k *crowd) allAnswered(statuses chan int) {
	k.t.Helper()
	for range cap(statuses) {
		if status := <-statuses; status != http.StatusOK {
			k.t.Errorf("a request that was open ended with %d", status)
		}
	}
}

// TestScalingOut kills one of three replicas, drains another and changes the secret of all, under load. No visitor
// notices, but for whom the killed one has left half an answer.
func TestScalingOut(t *testing.T) {
	site := newLegacy(t, secretText)
	c := startCluster(t, site, gatewayHost)
	eventually(t, "HAProxy lets the gateway through", func() bool {
		res, err := fromGateway(t, gatewayHost).Get("http://" + c.balancer + "/help.html")
		if err == nil {
			res.Body.Close()
		}
		return err == nil && res.StatusCode == http.StatusOK
	})
	if res, err := fromGateway(t, "127.0.0.11").Get("http://" + c.balancer + "/"); err != nil || res.StatusCode != http.StatusForbidden {
		t.Errorf("somebody past the gateway gets %v, %v", res, err)
	}
	const visitors = 8
	k := gather(t, c, visitors)
	k.more()
	z1, z2 := c.replicas[0], c.replicas[1]

	const open = 12
	release := site.hold()
	statuses, forms := k.held(site, "GET", open), k.held(site, "POST", open)
	k.dying.Store(true)
	c.until(z1, "DOWN", func() { c.signal(z1, syscall.SIGKILL) })
	k.dying.Store(false)
	site.awaits(t, 1) // one that z1 had is at another replica
	release()
	k.allAnswered(statuses)
	for range open {
		<-forms // whatever came of it
	}
	if got := site.posted(); got != open {
		t.Errorf("%d forms were posted, and the site got %d: one that may have been acted upon was sent again", open, got)
	}
	k.more()
	c.until(z1, "UP", func() { c.run(z1) })
	k.more()

	release = site.hold()
	statuses = k.held(site, "GET", open)
	c.until(z2, "DOWN", func() { c.signal(z2, syscall.SIGTERM) })
	k.more()
	release()
	k.allAnswered(statuses)
	if code := c.ended(z2); code != 0 {
		t.Errorf("%s has drained and ends with %d", z2.name, code)
	}
	k.more()
	c.until(z2, "UP", func() { c.run(z2) })
	k.more()

	z3 := c.replicas[2]
	k.posts.Store(true)
	c.command("set server zchatproxy/z3 state drain")
	eventually(t, "nothing is left at "+z3.name, func() bool { return c.busy(z3) == "0" })
	c.signal(z3, syscall.SIGTERM)
	if code := c.ended(z3); code != 0 {
		t.Errorf("%s ends with %d", z3.name, code)
	}
	k.more()
	c.run(z3)
	c.command("set server zchatproxy/z3 state ready")
	k.more()
	eventually(t, z3.name+" is in use again", func() bool { return c.busy(z3) != "0" })
	k.posts.Store(false)

	if k.atEveryReplica() {
		t.Fatal("the new secret is in use before it exists")
	}
	for who, values := range k.cookies {
		if len(values) != 1 {
			t.Errorf("%s had the visitor cookies %v", who, values)
		}
	}
	write(t, c.secretFile+".new", newSecretText)
	if err := os.Rename(c.secretFile+".new", c.secretFile); err != nil {
		t.Fatal(err)
	}
	eventually(t, "every replica signs with the new secret", k.atEveryReplica)
	k.more()
	k.leave()
	for who, values := range k.cookies {
		if len(values) != 2 { // one with each secret
			t.Errorf("%s had the visitor cookies %v", who, values)
		}
	}
	if halves := k.halves.Load(); halves > visitors {
		t.Errorf("%d answers broke off, more than there can have been at the replica that died", halves)
	}
	t.Logf("%d requests, %d answers that broke off with the replica that was killed", k.done.Load(), k.halves.Load())
}
