package proxy_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"strings"
	"testing"
)

var quiet = log.New(io.Discard, "", 0)

func sendWith(t *testing.T, c *http.Client, req *http.Request) reply {
	t.Helper()
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{res, string(body)}
}

// Whatever is spoken on either side, pages, bodies and trailers arrive the same.
func TestEveryPairOfProtocols(t *testing.T) {
	data := make([]byte, 3<<20)
	rand.Read(data)
	for _, p := range everyProtocol {
		t.Run(p.String(), func(t *testing.T) {
			g, client := newServedRig(t, p, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				h := w.Header()
				h.Set("X-Proto", fmt.Sprint(r.ProtoMajor))
				h.Set("X-Scheme", r.Header.Get("X-Forwarded-Proto"))
				if r.Method == "GET" {
					h.Set("Content-Type", "text/html; charset=utf-8")
					h.Set("Content-Length", fmt.Sprint(len(plainPage)))
					io.WriteString(w, plainPage)
					return
				}
				http.NewResponseController(w).EnableFullDuplex()
				h.Set("Content-Type", "application/octet-stream")
				h.Set("Trailer", "X-Sum")
				sum := sha256.New()
				io.Copy(w, io.TeeReader(r.Body, sum))
				h.Set("X-Sum", fmt.Sprintf("%x %s", sum.Sum(nil), r.Trailer.Get("X-Up")))
				h.Set(http.TrailerPrefix+"X-Unannounced", "late")
			}))
			res := sendWith(t, client, g.request("GET", "/", nil, "Cookie: a=1", "Cookie: b=2"))
			if _, rest := elementOf(t, res.body); rest != plainPage || res.ProtoMajor != p.in || res.Header.Get("X-Proto") != fmt.Sprint(p.up) || res.Header.Get("X-Scheme") != "https" {
				t.Errorf("%s in, %s up, scheme %s: %s", res.Proto, res.Header.Get("X-Proto"), res.Header.Get("X-Scheme"), res.body)
			}
			if int(res.ContentLength) != len(res.body) {
				t.Errorf("Content-Length %d of %d bytes", res.ContentLength, len(res.body))
			}
			req := g.request("POST", "/echo", io.MultiReader(bytes.NewReader(data)))
			req.Trailer = http.Header{"X-Up": {"there"}}
			res = sendWith(t, client, req)
			if res.body != string(data) {
				t.Errorf("the body came back changed, %d of %d bytes", len(res.body), len(data))
			}
			if want := fmt.Sprintf("%x there", sha256.Sum256(data)); res.Trailer.Get("X-Sum") != want || res.Trailer.Get("X-Unannounced") != "late" {
				t.Errorf("trailers %v, want %s", res.Trailer, want)
			}
			res = sendWith(t, client, g.request("HEAD", "/missing", nil))
			if res.StatusCode != 200 || res.body != "" {
				t.Errorf("HEAD: %d %q", res.StatusCode, res.body)
			}
		})
	}
}

// gRPC is HTTP/2 with a body that goes both ways at once and a status in the trailers.
func TestGRPC(t *testing.T) {
	cancelled := make(chan struct{})
	g, client := newServedRig(t, protocols{2, 2}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "application/grpc")
		if te := r.Header.Get("Te"); te != "trailers" {
			t.Errorf("TE %q went up, want trailers", te)
		}
		switch r.URL.Path {
		case "/refused": // the status comes in the header, which also ends the stream
			h.Set("Grpc-Status", "7")
			h.Set("Grpc-Message", "no%20entry")
			return
		case "/forever":
			w.WriteHeader(200)
			http.NewResponseController(w).Flush()
			<-r.Context().Done()
			close(cancelled)
			return
		}
		h.Set("Trailer", "Grpc-Status")
		w.WriteHeader(200)
		http.NewResponseController(w).Flush() // the header comes before the first message
		frame := make([]byte, 8)
		for {
			if _, err := io.ReadFull(r.Body, frame); err != nil {
				break
			}
			w.Write(frame)
			http.NewResponseController(w).Flush()
		}
		h.Set("Grpc-Status", "0")
		h.Set(http.TrailerPrefix+"Grpc-Message", "done")
	}))
	grpc := []string{"Content-Type: application/grpc", "Te: trailers"}

	t.Run("both ways", func(t *testing.T) {
		r, w := io.Pipe()
		res, err := client.Do(g.request("POST", "/echo", r, grpc...))
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		for i := range 20 {
			message := fmt.Sprintf("\x00\x00\x00\x00\x03%03d", i)
			io.WriteString(w, message)
			got := make([]byte, len(message))
			if _, err := io.ReadFull(res.Body, got); err != nil || string(got) != message {
				t.Fatalf("message %d: %q %v", i, got, err)
			}
		}
		w.Close()
		if rest, err := io.ReadAll(res.Body); len(rest) > 0 || err != nil {
			t.Errorf("%q %v", rest, err)
		}
		if res.Trailer.Get("Grpc-Status") != "0" || res.Trailer.Get("Grpc-Message") != "done" {
			t.Errorf("trailers %v", res.Trailer)
		}
	})
	t.Run("trailers only", func(t *testing.T) {
		res := sendWith(t, client, g.request("POST", "/refused", strings.NewReader("\x00\x00\x00\x00\x00"), grpc...))
		if res.StatusCode != 200 || res.Header.Get("Grpc-Status") != "7" || res.Header.Get("Grpc-Message") != "no%20entry" || res.body != "" {
			t.Errorf("%d %v %q", res.StatusCode, res.Header, res.body)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		r, w := io.Pipe()
		defer w.Close()
		res, err := client.Do(g.request("POST", "/forever", r, grpc...).WithContext(ctx))
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		res.Body.Close()
		<-cancelled
	})
}

// One stream that is cut must not take its neighbours on the connection with it.
func TestStreamsEndAlone(t *testing.T) {
	cancelled, next := make(chan struct{}), make(chan struct{})
	g, client := newServedRig(t, protocols{2, 2}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, "first\n")
		http.NewResponseController(w).Flush()
		switch r.URL.Path {
		case "/left":
			<-r.Context().Done()
			close(cancelled)
		case "/dies":
			panic(http.ErrAbortHandler)
		case "/stays":
			<-next
			io.WriteString(w, "second\n")
		}
	}))
	get := func(ctx context.Context, path string) *http.Response {
		res, err := client.Do(g.request("GET", path, nil).WithContext(ctx))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { res.Body.Close() })
		return res
	}
	stays := get(t.Context(), "/stays")
	ctx, cancel := context.WithCancel(t.Context())
	get(ctx, "/left")
	cancel()
	<-cancelled
	dies := get(t.Context(), "/dies")
	if body, err := io.ReadAll(dies.Body); err == nil {
		t.Errorf("a stream that the upstream broke off ends cleanly: %q", body)
	}
	close(next)
	if body, err := io.ReadAll(stays.Body); err != nil || string(body) != "first\nsecond\n" {
		t.Errorf("%q %v", body, err)
	}
}

// An upstream that dies amid a body must never look like one that has finished.
func TestUpstreamDiesAmidTheBody(t *testing.T) {
	for _, p := range everyProtocol {
		for _, kind := range []string{"text/html; charset=utf-8", "application/octet-stream"} {
			for _, length := range []string{"", "100000"} {
				t.Run(fmt.Sprintf("%v,%s,%s", p, kind, length), func(t *testing.T) {
					g, client := newServedRig(t, p, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						w.Header().Set("Content-Type", kind)
						if length != "" {
							w.Header().Set("Content-Length", length)
						}
						io.WriteString(w, plainPage)
						http.NewResponseController(w).Flush()
						panic(http.ErrAbortHandler)
					}))
					res, err := client.Do(g.request("GET", "/", nil))
					if err != nil {
						return // cut before the header came through: as good
					}
					defer res.Body.Close()
					if body, err := io.ReadAll(res.Body); err == nil {
						t.Errorf("ends cleanly after %d bytes", len(body))
					}
				})
			}
		}
	}
}

// An upload that the visitor breaks off must never look complete to the upstream.
func TestCancelledUploadReachesTheUpstream(t *testing.T) {
	for _, p := range everyProtocol {
		t.Run(p.String(), func(t *testing.T) {
			started, ended := make(chan struct{}), make(chan error, 1)
			g, client := newServedRig(t, p, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				io.ReadFull(r.Body, make([]byte, 5))
				close(started)
				_, err := io.Copy(io.Discard, r.Body)
				ended <- err
			}))
			r, w := io.Pipe()
			go func() {
				io.WriteString(w, "hello")
				<-started
				w.CloseWithError(errors.New("the visitor changed his mind"))
			}()
			if res, err := client.Do(g.request("POST", "/", r)); err == nil {
				res.Body.Close()
			}
			if err := <-ended; err == nil {
				t.Error("an upload that was broken off looks complete to the upstream")
			}
		})
	}
}
