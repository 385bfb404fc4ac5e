package demo

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"zchatproxy/testdata/browser"
)

// apache runs Debian's httpd, with its threads and HTTP/2 as Debian has them, over a configuration of its own. The
// directives given may use {dir} for its directory.
func apache(t *testing.T, dir, directives string) (direct string) {
	t.Helper()
	program := browser.Need(t, "apache2", "/usr/sbin/apache2")
	const modules = "/usr/lib/apache2/modules"
	var load strings.Builder
	for _, name := range []string{"mpm_event", "http2", "authz_core", "authz_host", "authn_core", "authn_file", "authz_user", "auth_basic", "alias", "autoindex",
		"cgid", "dav", "dav_fs", "deflate", "dir", "env", "filter", "headers", "include", "mime", "negotiation", "setenvif"} {
		path := filepath.Join(modules, "mod_"+name+".so")
		if _, err := os.Stat(path); err != nil {
			missing(t, "Apache's mod_"+name)
		}
		fmt.Fprintf(&load, "LoadModule %s_module %s\n", name, path)
	}
	account := ""
	if os.Geteuid() == 0 {
		account = "User www-data\nGroup www-data\n" // it refuses to serve as root
	}
	run := filepath.Join(dir, "run")
	if err := os.Mkdir(run, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(run, 0o777); err != nil { // where its children keep locks
		t.Fatal(err)
	}
	address := freeAddress(t)
	write(t, dir+"/httpd.conf", load.String()+account+strings.NewReplacer("{dir}", dir, "{run}", run, "{address}", address).Replace(`
ServerRoot {dir}
ServerName localhost
Listen {address}
DefaultRuntimeDir {run}
PidFile {run}/httpd.pid
ScriptSock {run}/cgid.sock
Mutex file:{run} default
ErrorLog /dev/stderr
StartServers 1
ThreadsPerChild 16
MinSpareThreads 4
MaxSpareThreads 64
MaxRequestWorkers 64
Protocols h2c http/1.1
TypesConfig /etc/mime.types
AddEncoding gzip .gz
DirectoryIndex index.html index.cgi
AddOutputFilterByType DEFLATE text/html text/css text/plain application/xhtml+xml application/javascript text/javascript
<Directory />
	Require all denied
</Directory>
`+directives))
	server(t, address, exec.Command(program, "-f", dir+"/httpd.conf", "-D", "FOREGROUND"))
	return "http://" + address
}

// repository makes a Git repository with everything that is hard to show on a page of XHTML.
func repository(t *testing.T, path string) {
	t.Helper()
	git := browser.Need(t, "git")
	var in bytes.Buffer
	marks := 0
	commit := func(branch, message string, parents string, files ...string) int {
		marks++
		fmt.Fprintf(&in, "commit refs/heads/%s\nmark :%d\n", branch, marks)
		for _, role := range []string{"author", "committer"} {
			fmt.Fprintf(&in, "%s Zoë Brændgaard <zoe@solvi.example> %d +0100\n", role, 1046444400+marks*86400)
		}
		fmt.Fprintf(&in, "data %d\n%s\n%s", len(message), message, parents)
		for i := 0; i < len(files); i += 2 {
			fmt.Fprintf(&in, "M 100644 inline %s\ndata %d\n%s\n", files[i], len(files[i+1]), files[i+1])
		}
		return marks
	}
	first := commit("master", "Start the log\n\nWith “quotes”, <b>tags</b> & ]]> what else XML minds.\n", "",
		"README", "The ship's log.\nÄöü € 漢字\n", "page.html", "<!DOCTYPE html>\n<html><head><title>A page</title></head><body>in the log &amp; such</body></html>\n",
		"part.html", "<p>no page but a part of one</p>\n", "latin1.txt", "Br\xe6ndgaard \x07\x1b[0m\n", "anchor.jpg", string(picture(t)),
		"src/Ünïcode name & <more>.c", "int main(void) { return a < b && c > d; } /* ]]> */\n")
	for i := range 8 {
		commit("master", fmt.Sprintf("Day %d: wind from the north\n\nAll well <on> board & below.", i), "", "README", strings.Repeat(fmt.Sprintf("day %d <&>\n", i), 20+10*i))
	}
	side := commit("splice", "Try another splice", fmt.Sprintf("from :%d\n", first), "splice.c", "#include <rope.h>\n")
	commit("master", "Merge branch 'splice'", fmt.Sprintf("merge :%d\n", side), "splice.c", "#include <rope.h>\n")
	fmt.Fprintf(&in, "tag v1.0\nfrom :%d\ntagger Zoë Brændgaard <zoe@solvi.example> 1047444400 +0100\ndata 11\nFirst & <1>\n", first)
	for _, c := range []*exec.Cmd{exec.Command(git, "init", "-q", "--bare", "-b", "master", path), exec.Command(git, "--git-dir="+path, "fast-import", "--quiet")} {
		c.Env = append(os.Environ(), "HOME="+filepath.Dir(path), "GIT_CONFIG_NOSYSTEM=1")
		c.Stdin = &in
		if c.Args[1] == "init" {
			c.Stdin = nil
		}
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", c, err, out)
		}
	}
	write(t, path+"/description", "The log & <its> “splices”\n")
}

// gitweb runs Debian's gitweb as CGI.
func gitweb(t *testing.T) software {
	t.Helper()
	if _, err := os.Stat("/usr/share/gitweb/index.cgi"); err != nil {
		missing(t, "gitweb")
	}
	dir := publicDir(t)
	repository(t, dir+"/git/log.git")
	write(t, dir+"/gitweb.conf", fmt.Sprintf(`
our $projectroot = '%s/git';
our $site_name = 'Ship’s repositories';
our $git_temp = '/nonexistent';
our @git_base_url_list = ('https://git.legacy.example');
$feature{$_}{'default'} = [1] for qw(blame search grep pickaxe javascript-actions javascript-timezone);
$feature{'snapshot'}{'default'} = ['tgz', 'zip'];
1;
`, dir))
	return software{
		direct: apache(t, dir, `
Alias /gitweb /usr/share/gitweb
SetEnv GITWEB_CONFIG {dir}/gitweb.conf
<Directory /usr/share/gitweb>
	Require all granted
	Options +FollowSymLinks +ExecCGI
	AddHandler cgi-script .cgi
</Directory>
`),
		seeds: []string{"/gitweb", "/gitweb/?p=log.git", "/gitweb/?p=log.git;a=tree", "/gitweb/?p=log.git;a=blob;f=README", "/gitweb/?p=log.git;a=blame;f=README",
			"/gitweb/index.cgi/log.git/shortlog", "/gitweb/index.cgi/log.git/blob_plain/HEAD:/page.html", "/gitweb/index.cgi/log.git/blob_plain/HEAD:/part.html",
			"/gitweb/?p=log.git;a=snapshot;h=HEAD;sf=tgz", "/gitweb/?p=log.git;a=rss", "/gitweb/?a=opml", "/gitweb/?p=log.git;a=patch;h=HEAD",
			"/gitweb/?p=log.git;a=blob_plain;f=latin1.txt", "/gitweb/?p=log.git;a=search;s=wind;st=commit", "/gitweb/?p=none.git", "/gitweb/?p=log.git;a=blame_incremental;f=README"},
		varying: regexp.MustCompile(`<lastBuildDate>[^<]*|<pubDate>[^<]*`),
		bare:    regexp.MustCompile(`part\.html$`),
	}
}

func TestGitweb(t *testing.T) {
	s := gitweb(t).behind(t)
	s.crawl(45)
	// An older browser does not say that it knows XHTML, and so gets HTML.
	s.accept = "text/html, */*"
	s.crawl(15)

	p := newPerson(t, s.front)
	p.open(s.at("/gitweb/?p=log.git"))
	p.submit("s", "s", "wind", "st", "commit")
	p.sees("Day 7: wind from the north")
	p.submit("s", "s", "rope.h", "st", "grep")
	p.sees("splice.c")

	s.browse("/gitweb/", "/gitweb/?p=log.git", "/gitweb/?p=log.git;a=commit;h=HEAD", "/gitweb/?p=log.git;a=blame_incremental;f=README", "/gitweb/index.cgi/log.git/blob_plain/HEAD:/page.html")
	b := newVisitor(t)
	b.open(s.at("/gitweb/?p=log.git;a=blame_incremental;f=README"))
	if kind := eval[string](b, `document.contentType`); kind != "application/xhtml+xml" {
		t.Errorf("the browser reads gitweb's pages as %s", kind)
	}
	// The page fills in line by line from a request of its script, which gets no script of ours.
	eval[bool](b, `new Promise(function (done) { (function look() {
		if (document.querySelectorAll('tr .sha1 a').length > 1) done(true); else setTimeout(look, 20);
	})(); })`)
}
