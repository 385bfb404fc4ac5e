package widget_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"zchatproxy/cmd/zchatproxy/demo/widget"
)

func TestHandler(t *testing.T) {
	h, err := widget.New("classic", func(kind, token string) (widget.Agent, error) {
		if token != "good" {
			return widget.Agent{}, errors.New("wrong signature")
		}
		return widget.Agent{ID: kind, Name: "Zoë"}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		method, path, body string
		status             int
		kind, want         string
	}{
		{"GET", "/snippet.js?key=k", "", 200, "text/javascript; charset=utf-8", "Web Widget (Classic)"},
		{"GET", "/any/where/ekr/snippet.js", "", 200, "text/javascript; charset=utf-8", "zESettings"},
		{"POST", "/snippet.js", "", 405, "text/plain; charset=utf-8", "to be read"},
		{"POST", "/any/where/verify?kind=chat", "good", 200, "application/json", `{"id":"chat","email":"","name":"Zoë","emailVerified":false}`},
		{"POST", "/verify?kind=chat", "bad", 200, "application/json", `{"error":"wrong signature"}`},
		{"GET", "/verify?kind=chat", "", 405, "text/plain; charset=utf-8", "post a token"},
		{"POST", "/verify", strings.Repeat("x", 1<<20), 400, "text/plain; charset=utf-8", "too large"},
	}
	for _, test := range tests {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(test.method, test.path, strings.NewReader(test.body)))
		body := w.Body.String()
		if w.Code != test.status || w.Header().Get("Content-Type") != test.kind || !strings.Contains(body, test.want) {
			t.Errorf("%s %s: %d %s %.100q", test.method, test.path, w.Code, w.Header().Get("Content-Type"), body)
		}
		if w.Header().Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s %s: pages of other origins cannot use it", test.method, test.path)
		}
	}
	if _, err := widget.New("other", nil); err == nil {
		t.Error("a widget of no known kind was made")
	}
}

// A token that Zendesk would not take must not show as a visitor.
func TestVerify(t *testing.T) {
	for _, kind := range []string{"chat", "messaging", "help-center"} {
		agent, err := verify(kind, sign(kind, "alice"))
		if err != nil || agent.Name != "alice" {
			t.Errorf("%s: %+v, %v", kind, agent, err)
		}
		for _, other := range []string{"chat", "messaging", "help-center"} {
			if other == kind || kind == "messaging" && other == "chat" {
				continue // a messaging token has all that chat asks for
			}
			if _, err := verify(other, sign(kind, "alice")); err == nil {
				t.Errorf("a %s token was taken for %s", kind, other)
			}
		}
	}
}

func ExampleNew() {
	h, err := widget.New("chat", func(kind, token string) (widget.Agent, error) {
		return widget.Agent{ID: "user-1", Name: "Zoë"}, nil
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	server := httptest.NewServer(h)
	defer server.Close()
	answer, err := http.Post(server.URL+"/verify?kind=chat", "text/plain", strings.NewReader("e30.e30.x"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer answer.Body.Close()
	io.Copy(io.Discard, answer.Body)
	fmt.Println(answer.Status)
	// Output: 200 OK
}
