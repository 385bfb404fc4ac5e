package identity

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// principals are as Easy Auth makes them; ids and names are made up.
const (
	entraPrincipal = `{"auth_typ":"aad","claims":[
		{"typ":"aud","val":"6b7c"},{"typ":"iss","val":"https://login.microsoftonline.com/t/v2.0"},
		{"typ":"name","val":"Zoë Müller"},
		{"typ":"http://schemas.microsoft.com/identity/claims/objectidentifier","val":"oid-1"},
		{"typ":"preferred_username","val":"zoe@contoso.example"},
		{"typ":"http://schemas.xmlsoap.org/ws/2005/05/identity/claims/emailaddress","val":"zoe@example.com"},
		{"typ":"http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier","val":"sub-1"},
		{"typ":"roles","val":"a"},{"typ":"roles","val":"b"}],
		"name_typ":"http://schemas.xmlsoap.org/ws/2005/05/identity/claims/emailaddress",
		"role_typ":"http://schemas.microsoft.com/ws/2008/06/identity/claims/role"}`
	oidcPrincipal = `{"auth_typ":"oidc","claims":[{"typ":"sub","val":"s2"},{"typ":"emails","val":"a@x.example"},{"typ":"emails","val":"b@x.example"},
		{"typ":"display","val":"Ann"}],"name_typ":"display","role_typ":"roles"}`
)

func easyAuth(json string, plain ...string) []string {
	return append([]string{"X-MS-CLIENT-PRINCIPAL", base64.StdEncoding.EncodeToString([]byte(json))}, plain...)
}

func TestEasyAuth(t *testing.T) {
	tests := []struct {
		name   string
		config Config
		header []string
		want   Identity
	}{
		{"Entra ID", Config{}, easyAuth(entraPrincipal), Identity{ID: "sub-1", Email: "zoe@example.com", Name: "Zoë Müller"}},
		{"the principal comes before the plain headers", Config{},
			easyAuth(entraPrincipal, "X-MS-CLIENT-PRINCIPAL-ID", "oid-1", "X-MS-CLIENT-PRINCIPAL-NAME", "other@example.com"),
			Identity{ID: "sub-1", Email: "zoe@example.com", Name: "Zoë Müller"}},
		{"another provider", Config{}, easyAuth(oidcPrincipal), Identity{ID: "s2", Email: "a@x.example", Name: "Ann"}},
		{"object id alone", Config{}, easyAuth(`{"claims":[{"typ":"oid","val":"o"},{"typ":"upn","val":"ann@x.example"}]}`),
			Identity{ID: "o", Email: "ann@x.example"}},
		{"plain headers fill what is missing", Config{},
			easyAuth(`{"claims":[]}`, "X-MS-CLIENT-PRINCIPAL-ID", "id-1", "X-MS-CLIENT-PRINCIPAL-NAME", "ann@x.example"),
			Identity{ID: "id-1", Email: "ann@x.example", Name: "ann@x.example"}},
		{"without padding", Config{}, []string{"X-MS-CLIENT-PRINCIPAL", strings.TrimRight(base64.StdEncoding.EncodeToString([]byte(oidcPrincipal)), "=")},
			Identity{ID: "s2", Email: "a@x.example", Name: "Ann"}},
		{"a repeated id", Config{}, easyAuth(`{"claims":[{"typ":"sub","val":"s"},{"typ":"sub","val":"s"}]}`), Identity{ID: "s"}},
		{"overrides win", Config{IDHeader: "X-MS-CLIENT-PRINCIPAL-ID", NameHeader: "X-Name", EmailHeader: "X-Mail"},
			easyAuth(entraPrincipal, "X-MS-CLIENT-PRINCIPAL-ID", "oid-1", "X-Name", "Z", "X-Mail", "z@x.example"),
			Identity{ID: "oid-1", Email: "z@x.example", Name: "Z"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.config.Preset = "azure-easyauth"
			got, err := mustNew(t, tt.config).Request(ask(tt.header...), true)
			if err != nil || !got.LoggedIn {
				t.Fatalf("Request = %+v, %v", got, err)
			}
			if diff := cmp.Diff(tt.want, got.Identity); diff != "" {
				t.Errorf("identity (-want +got):\n%s", diff)
			}
		})
	}
}

// A principal that cannot be read is not made up for by the plain headers.
func TestEasyAuthNobody(t *testing.T) {
	s := mustNew(t, Config{Preset: "azure-easyauth"})
	plain := []string{"X-MS-CLIENT-PRINCIPAL-ID", "id-1", "X-MS-CLIENT-PRINCIPAL-NAME", "ann@x.example"}
	for name, tt := range map[string]struct {
		header []string
		want   Reason
	}{
		"not Base64":       {append(plain, "X-MS-CLIENT-PRINCIPAL", "{}"), ReasonBadPrincipal},
		"not JSON":         {easyAuth("hello", plain...), ReasonBadPrincipal},
		"cut JSON":         {easyAuth(entraPrincipal[:200], plain...), ReasonBadPrincipal},
		"more after it":    {easyAuth(oidcPrincipal+"{}", plain...), ReasonBadPrincipal},
		"no claims":        {easyAuth("{}", plain...), ReasonBadPrincipal},
		"claims as object": {easyAuth(`{"claims":{"sub":"x"}}`, plain...), ReasonBadPrincipal},
		"null":             {easyAuth("null", plain...), ReasonBadPrincipal},
		"huge":             {easyAuth(`{"claims":[{"typ":"sub","val":"` + strings.Repeat("x", maxPrincipal) + `"}]}`), ReasonBadPrincipal},
		"two ids":          {easyAuth(`{"claims":[{"typ":"sub","val":"a"},{"typ":"sub","val":"b"}]}`, plain...), ReasonConflict},
		"no id at all":     {easyAuth(`{"claims":[{"typ":"email","val":"a@x.example"}]}`), ReasonNoID},
	} {
		got, err := s.Request(ask(tt.header...), true)
		if err != nil || got.LoggedIn || got.Reason != tt.want {
			t.Errorf("%s: Request = %+v, %v; want %s", name, got, err, tt.want)
		}
	}
}

func FuzzPrincipal(f *testing.F) {
	for _, p := range []string{entraPrincipal, oidcPrincipal, "{}", `{"claims":[{"typ":"","val":"x"}],"name_typ":""}`, `{"claims":[null]}`} {
		f.Add(base64.StdEncoding.EncodeToString([]byte(p)))
	}
	s := mustNew(f, Config{Preset: "azure-easyauth"})
	f.Fuzz(func(t *testing.T, value string) {
		got, err := s.Request(ask("X-MS-CLIENT-PRINCIPAL", value), true)
		if err != nil {
			t.Fatalf("one value is no conflict: %v", err)
		}
		if got.LoggedIn != (got.Identity.ID != "") || got.LoggedIn != (got.Reason == "") {
			t.Fatalf("%q: %+v", value, got)
		}
		if c, err := decodePrincipal(strings.TrimSpace(value)); got.LoggedIn && (err != nil || cleanText(c.id) != got.Identity.ID) {
			t.Fatalf("%q: %+v from %+v, %v", value, got, c, err)
		}
	})
}
