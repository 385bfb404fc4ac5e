package identity_test

import (
	"fmt"
	"net/http/httptest"

	"zchatproxy/proxy/identity"
)

func ExampleSource_Request() {
	peers, err := identity.ParsePeers("127.0.0.0/8, ::1/128")
	if err != nil {
		panic(err)
	}
	source, err := identity.New(identity.Config{Preset: "authelia", IDPrefix: "user-"})
	if err != nil {
		panic(err)
	}
	for _, peer := range []string{"127.0.0.1:4711", "203.0.113.9:4711"} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = peer
		r.Header.Set("Remote-User", "ann")
		r.Header.Set("Remote-Email", "ann@example.com")
		who, err := source.Request(r, peers.Trusts(r.RemoteAddr))
		if err != nil {
			panic(err)
		}
		fmt.Printf("%v %q %v, %d headers left\n", who.LoggedIn, who.Identity.ID, who.Reason, len(r.Header))
	}
	// Output:
	// true "user-ann" , 2 headers left
	// false "" untrusted-peer, 0 headers left
}

func ExampleNew() {
	_, err := identity.New(identity.Config{Preset: "google-iap"})
	fmt.Println(err)
	// Output:
	// Audience: the preset google-iap needs it, or an assertion made for anybody's application would count; write /projects/NUMBER/global/backendServices/ID or /projects/NUMBER/apps/PROJECT
}
