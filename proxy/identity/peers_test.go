package identity

import (
	"strings"
	"testing"
)

func TestPeers(t *testing.T) {
	tests := []struct {
		list     string
		trusts   string // remote addresses, separated by spaces; "-" stands for the empty one
		distrust string
	}{
		{"", "", "127.0.0.1:80 [::1]:80 @ -"},
		{"127.0.0.0/8,::1/128", "127.0.0.1:1 127.0.0.2:65535 [::1]:80 [::ffff:127.0.0.1]:80 127.0.0.1 ::1", "128.0.0.1:1 [::2]:80 @ - /run/x.sock"},
		{"10.0.0.7", "10.0.0.7:4 [::ffff:10.0.0.7]:4", "10.0.0.8:4 [::10.0.0.7]:4"},
		{"10.0.0.7/8", "10.200.0.1:4", "11.0.0.1:4"},
		{"::ffff:10.0.0.0/104", "10.9.9.9:1 [::ffff:10.9.9.9]:1", "11.0.0.1:1"},
		{"::ffff:10.0.0.7", "10.0.0.7:1", "10.0.0.8:1"},
		{" 192.168.0.0/16 ,\n172.16.0.0/12\t2001:db8::/32 ,, ", "192.168.1.1:1 172.31.255.255:1 [2001:db8::1]:1", "172.32.0.0:1 [2001:db9::1]:1"},
		{"fe80::/10", "[fe80::1%eth0]:80 [fe80::1]:80", "[fec0::1%eth0]:80"},
		{"fe80::1%eth0", "[fe80::1%eth0]:80", "[fe80::1%eth1]:80 [fe80::1]:80 [fe80::2%eth0]:80"},
		{"unix", "@ - /run/gateway.sock @abstract", "127.0.0.1:80 [::1]:80"},
		{"UNIX,127.0.0.1", "@ 127.0.0.1:9", "127.0.0.2:9"},
		{"0.0.0.0/0", "1.2.3.4:5 [::ffff:1.2.3.4]:5", "[::1]:80 @"},
	}
	for _, tt := range tests {
		p, err := ParsePeers(tt.list)
		if err != nil {
			t.Errorf("ParsePeers(%q): %v", tt.list, err)
			continue
		}
		again, err := ParsePeers(p.String())
		if err != nil || again.String() != p.String() {
			t.Errorf("%q prints as %q, which reads as %q, %v", tt.list, p, again, err)
		}
		for addr := range strings.FieldsSeq(tt.trusts) {
			if addr = strings.TrimSuffix(addr, "-"); !p.Trusts(addr) {
				t.Errorf("%q does not trust %q", tt.list, addr)
			}
		}
		for addr := range strings.FieldsSeq(tt.distrust) {
			if addr = strings.TrimSuffix(addr, "-"); p.Trusts(addr) {
				t.Errorf("%q trusts %q", tt.list, addr)
			}
		}
	}
}

func TestPeersThatCannotBeRead(t *testing.T) {
	for _, list := range []string{"localhost", "10.0.0.0/33", "10.0.0/8", "10.0.0.1:80", "fe80::/10%eth0", "unixx", "127.0.0.1,,x", "*", "010.0.0.1"} {
		if p, err := ParsePeers(list); err == nil {
			t.Errorf("ParsePeers(%q) = %v, want an error", list, p)
		}
	}
}

func TestTrustsEveryone(t *testing.T) {
	for list, want := range map[string]bool{
		"0.0.0.0/0": true, "::/0": true, "127.0.0.1,::/0": true, "0.0.0.0/1,128.0.0.0/1": true, "::ffff:0.0.0.0/96": true, "2000::/3": true,
		"": false, "unix": false, "10.0.0.0/8": false, "0.0.0.0": false, "::1/128": false, "2001::/16": false,
	} {
		p, err := ParsePeers(list)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.TrustsEveryone(); got != want {
			t.Errorf("%q: TrustsEveryone = %v, want %v", list, got, want)
		}
	}
}

func FuzzPeers(f *testing.F) {
	f.Add("127.0.0.0/8,::1/128,unix", "127.0.0.1:80")
	f.Add("fe80::1%eth0", "[fe80::1%eth0]:80")
	f.Add("::ffff:10.0.0.0/104", "10.1.1.1:1")
	f.Fuzz(func(t *testing.T, list, addr string) {
		p, err := ParsePeers(list)
		if err != nil {
			return
		}
		again, err := ParsePeers(p.String())
		if err != nil {
			t.Fatalf("%q prints as %q: %v", list, p, err)
		}
		if p.Trusts(addr) != again.Trusts(addr) {
			t.Fatalf("%q and %q differ about %q", list, p, addr)
		}
	})
}
