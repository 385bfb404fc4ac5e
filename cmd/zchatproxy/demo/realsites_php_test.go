package demo

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// picture is something to upload.
func picture(t *testing.T) []byte {
	t.Helper()
	content, err := os.ReadFile("site/files/images/anchor.jpg")
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// phpServer runs PHP's own web server over a document root.
func phpServer(t *testing.T, root string, env []string, args ...string) (address string) {
	t.Helper()
	address = freeAddress(t)
	cmd := exec.Command(need(t, "php"), append(args, "-d", "upload_max_filesize=8M", "-S", address, "-t", root)...)
	cmd.Env = append(os.Environ(), append(env, "PHP_CLI_SERVER_WORKERS=3")...)
	server(t, address, cmd)
	return "http://" + address
}

// dokuWiki runs Debian's DokuWiki with configuration and data of its own.
func dokuWiki(t *testing.T) *realSite {
	t.Helper()
	const root = "/usr/share/dokuwiki"
	if _, err := os.Stat(root + "/doku.php"); err != nil {
		missing(t, "DokuWiki")
	}
	dir := t.TempDir()
	for _, name := range []string{"attic", "cache", "index", "locks", "media", "media_attic", "media_meta", "meta", "pages", "tmp", "log"} {
		if err := os.MkdirAll(filepath.Join(dir, "data", name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	sum := md5.Sum([]byte("tarred hemp")) // one of the formats that its user file may have
	write(t, dir+"/prepend.php", fmt.Sprintf("<?php define('DOKU_CONF', '%s/conf/');\n", dir))
	write(t, dir+"/conf/local.php", fmt.Sprintf(
		"<?php\n$conf['title'] = 'Ship’s wiki';\n$conf['savedir'] = '%s/data';\n$conf['useacl'] = 1;\n$conf['superuser'] = '@admin';\n", dir))
	write(t, dir+"/conf/acl.auth.php", "*\t@ALL\t1\n*\t@user\t8\n")
	write(t, dir+"/conf/users.auth.php", "zoe:"+hex.EncodeToString(sum[:])+":Zoë Brændgaard:zoe@solvi.example:user,admin\n")
	write(t, dir+"/data/pages/start.txt", "====== Start ======\nSee [[rope]], [[harbour:leith]], {{:none.jpg}} and [[nowhere]]. Äöü € 漢字\n\n"+
		"===== Two =====\n<code html>\n<head></head><script>alert(1)</script>\n</code>\n")
	write(t, dir+"/data/pages/rope.txt", "====== Rope ======\n^ mm ^ kN ^\n| 10 | 7,1 |\nBack to [[start]].\n")
	write(t, dir+"/data/pages/harbour/leith.txt", "====== Leith ======\n  * one\n  * two\n")
	s := behind(t, phpServer(t, root, nil, "-d", "auto_prepend_file="+dir+"/prepend.php"))
	s.seeds = []string{"/doku.php?id=start", "/", "/doku.php?id=start&do=login", "/doku.php?id=nowhere",
		"/doku.php?id=start&do=export_xhtml", "/feed.php", "/lib/exe/opensearch.php"}
	s.skip = regexp.MustCompile(`do=(edit|logout|diff)|indexer\.php|taskrunner\.php`)
	s.varying = regexp.MustCompile(`taskrunner\.php\?[^"]*|sectok=[0-9a-f]*|<lastBuildDate>[^<]*|<dc:date>[^<]*`)
	return s
}

func TestDokuWiki(t *testing.T) {
	s := dokuWiki(t)
	if pages := s.crawl(plainClient(t)); pages < 10 {
		t.Errorf("only %d pages with the script", pages)
	}

	p := newPerson(t)
	p.open(s.at("/doku.php?id=start&do=login"))
	p.submit("u", "u", "zoe", "p", "tarred hemp")
	p.sees("Logged in as")
	p.sees("Zoë Brændgaard")

	p.open(s.at("/doku.php?id=knots&do=edit"))
	text := "====== Knots ======\nA bowline & a “sheet bend” <- Ünïcode 漢字\n" + strings.Repeat("Round turn and two half hitches.\n", 4000)
	p.submit("wikitext", "wikitext", text, "do[save]", "1")
	if want := s.at("/doku.php?id=knots"); p.address != want {
		t.Errorf("saving leads to %s, want a redirect to %s", p.address, want)
	}
	p.sees("A bowline &amp; a “sheet bend” ← Ünïcode 漢字")

	p.open(s.at("/lib/exe/mediamanager.php?ns="))
	p.upload("upload", picture(t), "mediaid", "anchor.jpg")
	p.sees("Upload successful")
	if _, body := fetch(t, p.c, s.at("/lib/exe/fetch.php?media=anchor.jpg")); !bytes.Equal(body, picture(t)) {
		t.Errorf("the uploaded file comes back as %d other bytes", len(body))
	}
	p.open(s.at("/doku.php?id=start"))
	p.open(s.at("/doku.php?id=start&do=logout&sectok=" + sectok(p.page)))
	p.sees("Log In")

	s.browse("/doku.php?id=start", "/doku.php?id=start&do=login", "/doku.php?id=rope", "/doku.php?id=start&do=media")
}

// sectok finds DokuWiki's token against forged requests.
func sectok(page []byte) string {
	m := regexp.MustCompile(`sectok(?:=|" value=")([0-9a-f]+)`).FindSubmatch(page)
	if m == nil {
		return ""
	}
	return string(m[1])
}

// mediaWiki installs Debian's MediaWiki over SQLite.
func mediaWiki(t *testing.T) *realSite {
	t.Helper()
	const root = "/usr/share/mediawiki"
	if _, err := os.Stat(root + "/maintenance/install.php"); err != nil {
		missing(t, "MediaWiki")
	}
	php := need(t, "php")
	if out, err := exec.Command(php, "-r", `exit(extension_loaded('pdo_sqlite') ? 0 : 1);`).CombinedOutput(); err != nil {
		missing(t, "PHP's extension for SQLite "+string(out))
	}
	dir := t.TempDir()
	for _, name := range []string{"data", "images"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	install := exec.Command(php, root+"/maintenance/install.php", "--dbtype", "sqlite", "--dbpath", dir+"/data", "--dbname", "wiki",
		"--confpath", dir, "--server", "http://localhost", "--scriptpath", "", "--pass", "tarred-hemp-14mm", "--skins", "Vector", "Ship's wiki", "Zoe")
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("installing MediaWiki: %v\n%s", err, out)
	}
	settings, err := os.ReadFile(dir + "/LocalSettings.php")
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir+"/LocalSettings.php", string(settings)+fmt.Sprintf(`
$wgServer = 'http://' . ( $_SERVER['HTTP_HOST'] ?? 'localhost' );
$wgEnableUploads = true;
$wgUploadDirectory = '%[1]s/images';
$wgTmpDirectory = '%[1]s/images';
$wgJobRunRate = 0;
`, dir))
	s := behind(t, phpServer(t, root, []string{"MW_CONFIG_FILE=" + dir + "/LocalSettings.php"}))
	s.files = dir + "/images"
	s.seeds = []string{"/index.php/Main_Page", "/", "/index.php?title=Special:UserLogin", "/index.php/Special:AllPages", "/index.php/No_such_page",
		"/index.php?title=Main_Page&action=history", "/api.php?action=query&format=json&meta=siteinfo"}
	s.skip = regexp.MustCompile(`Special:(UserLogout|Random|MyLanguage|ExportTranslations)|action=(purge|edit)|printable=yes`)
	s.varying = regexp.MustCompile(`"wgRequestId":"[0-9a-f]+"|"wgBackendResponseTime":\d+|<updated>[^<]*|` +
		`(?s:<!--\s*NewPP limit report.*?-->)|<!-- Saved in parser cache[^>]*-->|"time":"[^"]*"|"wgPageParseReport":[^\n]*|` +
		`name="wp[A-Za-z]*Token" type="hidden" value="[^"]*"|from=\d{14}&amp;fromFormatted=[^&"]*`)
	return s
}

func TestMediaWiki(t *testing.T) {
	s := mediaWiki(t)
	if pages := s.crawl(plainClient(t)); pages < 10 {
		t.Errorf("only %d pages with the script", pages)
	}

	p := newPerson(t)
	p.open(s.at("/index.php?title=Special:UserLogin&returnto=Main_Page"))
	p.submit("wpName", "wpName", "Zoe", "wpPassword", "tarred-hemp-14mm")
	if want := s.at("/index.php/Main_Page"); p.address != want {
		t.Errorf("logging in leads to %s, want a redirect to %s", p.address, want)
	}
	p.sees(`"wgUserName":"Zoe"`)

	p.open(s.at("/index.php?title=Knots&action=edit"))
	text := "A <b>bowline</b> & “sheet bend”, 漢字\n" + strings.Repeat("Round turn and two half hitches.\n\n", 3000)
	p.submit("wpTextbox1", "wpTextbox1", text, "wpSave", "Save")
	if want := s.at("/index.php/Knots"); p.address != want {
		t.Errorf("saving leads to %s, want a redirect to %s", p.address, want)
	}
	p.sees("A <b>bowline</b> &amp; “sheet bend”, 漢字")

	p.open(s.at("/index.php/Special:Upload"))
	p.upload("wpUploadFile", picture(t), "wpDestFile", "Anchor.jpg", "wpUploadDescription", "An anchor", "wpUpload", "Upload file")
	p.sees("Anchor.jpg")
	if got := storedPicture(t, s); !bytes.Equal(got, picture(t)) {
		t.Errorf("the uploaded file was stored as %d other bytes", len(got))
	}

	s.browse("/index.php/Main_Page", "/index.php/Special:AllPages", "/index.php?title=Special:UserLogin", "/index.php/Special:RecentChanges")
}

// storedPicture reads what MediaWiki has kept of the upload.
func storedPicture(t *testing.T, s *realSite) (content []byte) {
	t.Helper()
	err := filepath.WalkDir(s.files, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == "Anchor.jpg" && !d.IsDir() {
			content, err = os.ReadFile(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return content
}
