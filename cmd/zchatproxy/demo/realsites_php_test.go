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

	"zchatproxy/testdata/browser"
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
	cmd := exec.Command(browser.Need(t, "php"), append(args, "-d", "upload_max_filesize=8M", "-S", address, "-t", root)...)
	cmd.Env = append(os.Environ(), append(env, "PHP_CLI_SERVER_WORKERS=3")...)
	server(t, address, cmd)
	return "http://" + address
}

// legacyName is a name that a site is configured with, and that nobody else knows.
const legacyName = "www.legacy.example"

// dokuWiki runs Debian's DokuWiki with configuration and data of its own.
func dokuWiki(t *testing.T) software {
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
		"<?php\n$conf['title'] = 'Ship’s wiki';\n$conf['savedir'] = '%s/data';\n$conf['useacl'] = 1;\n$conf['superuser'] = '@admin';\n"+
			"if ($_SERVER['HTTP_HOST'] === '%s') $conf['baseurl'] = 'http://%[2]s';\n", dir, legacyName))
	write(t, dir+"/conf/acl.auth.php", "*\t@ALL\t1\n*\t@user\t8\n")
	write(t, dir+"/conf/users.auth.php", "zoe:"+hex.EncodeToString(sum[:])+":Zoë Brændgaard:zoe@solvi.example:user,admin\n")
	write(t, dir+"/data/pages/start.txt", "====== Start ======\nSee [[rope]], [[harbour:leith]], {{:none.jpg}} and [[nowhere]]. Äöü € 漢字\n\n"+
		"===== Two =====\n<code html>\n<head></head><script>alert(1)</script>\n</code>\n")
	write(t, dir+"/data/pages/rope.txt", "====== Rope ======\n^ mm ^ kN ^\n| 10 | 7,1 |\nBack to [[start]].\n")
	write(t, dir+"/data/pages/harbour/leith.txt", "====== Leith ======\n  * one\n  * two\n")
	return software{
		direct: phpServer(t, root, nil, "-d", "auto_prepend_file="+dir+"/prepend.php"),
		seeds: []string{"/doku.php?id=start", "/", "/doku.php?id=start&do=login", "/doku.php?id=nowhere",
			"/doku.php?id=start&do=export_xhtml", "/feed.php", "/lib/exe/opensearch.php"},
		skip:    regexp.MustCompile(`do=(edit|logout|diff)|indexer\.php|taskrunner\.php`),
		varying: regexp.MustCompile(`taskrunner\.php\?[^"]*|sectok=[0-9a-f]*|<lastBuildDate>[^<]*|<dc:date>[^<]*`),
	}
}

func TestDokuWiki(t *testing.T) {
	sw := dokuWiki(t)
	paths := []string{"/doku.php?id=start", "/doku.php?id=start&do=login", "/doku.php?id=rope", "/doku.php?id=start&do=media"}
	t.Run("its own name", func(t *testing.T) {
		s := sw.behind(t)
		s.crawl(150)
		useDokuWiki(s, newPerson(t, s.front), "knots")
		s.browse(paths...)
	})
	staging(t, sw, stagingSite{
		use:   useDokuWiki,
		login: "/doku.php?id=start&do=login", user: `#dw__login input[name=u]`, password: `#dw__login input[name=p]`,
		id: "zoe", secret: "tarred hemp", submit: `#dw__login button[type=submit]`, name: "Zoë Brændgaard",
		paths:   paths,
		leaving: map[string][]string{"upstream": {"link canonical"}, legacyName: {"link canonical"}},
	})
}

// useDokuWiki logs in, writes a page, uploads a file and logs out.
func useDokuWiki(s *realSite, p *person, page string) {
	s.t.Helper()
	p.open(s.at("/doku.php?id=start&do=login"))
	p.submit("u", "u", "zoe", "p", "tarred hemp")
	p.sees("Logged in as")
	p.sees("Zoë Brændgaard")

	p.open(s.at("/doku.php?id=" + page + "&do=edit"))
	text := "====== Knots ======\nA bowline & a “sheet bend” <- Ünïcode 漢字\n" + strings.Repeat("Round turn and two half hitches.\n", 4000)
	p.submit("wikitext", "wikitext", text, "do[save]", "1")
	p.isAt(s.at("/doku.php?id=" + page))
	p.sees("A bowline &amp; a “sheet bend” ← Ünïcode 漢字")
	p.sees("Zoë Brændgaard")

	p.open(s.at("/lib/exe/mediamanager.php?ns="))
	p.upload("upload", picture(s.t), "mediaid", page+".jpg")
	p.sees("Upload successful")
	if _, body := fetch(s.t, p.c, s.at("/lib/exe/fetch.php?media="+page+".jpg")); !bytes.Equal(body, picture(s.t)) {
		s.t.Errorf("the uploaded file comes back as %d other bytes", len(body))
	}
	p.open(s.at("/doku.php?id=start"))
	p.submit("q", "q", page)
	p.sees("Zoë Brændgaard")
	p.open(s.at("/doku.php?id=start&do=logout&sectok=" + sectok(p.page)))
	p.sees("Log In")
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
func mediaWiki(t *testing.T) software {
	t.Helper()
	const root = "/usr/share/mediawiki"
	if _, err := os.Stat(root + "/maintenance/install.php"); err != nil {
		missing(t, "MediaWiki")
	}
	php := browser.Need(t, "php")
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
$host = $_SERVER['HTTP_HOST'] ?? 'localhost';
$wgServer = 'http://' . $host;
if ( $host === '%[2]s' ) {
	$wgServer = 'http://' . ( $_SERVER['HTTP_X_FORWARDED_HOST'] ?? $host );
	$wgCookieDomain = '.legacy.example';
	$wgCookieSecure = true; // as behind something that ends TLS
}
$wgEnableUploads = true;
$wgUploadDirectory = '%[1]s/images';
$wgTmpDirectory = '%[1]s/images';
$wgJobRunRate = 0;
`, dir, legacyName))
	return software{
		direct: phpServer(t, root, []string{"MW_CONFIG_FILE=" + dir + "/LocalSettings.php"}),
		files:  dir + "/images",
		seeds: []string{"/index.php/Main_Page", "/", "/index.php?title=Special:UserLogin", "/index.php/Special:AllPages", "/index.php/No_such_page",
			"/index.php?title=Main_Page&action=history", "/api.php?action=query&format=json&meta=siteinfo"},
		skip: regexp.MustCompile(`Special:(UserLogout|Random|MyLanguage|ExportTranslations)|action=(purge|edit)|printable=yes`),
		varying: regexp.MustCompile(`"wgRequestId":"[0-9a-f]+"|"wgBackendResponseTime":\d+|<updated>[^<]*|` +
			`(?s:<!--\s*NewPP limit report.*?-->)|<!-- Saved in parser cache[^>]*-->|"time":"[^"]*"|"wgPageParseReport":[^\n]*|` +
			`name="wp[A-Za-z]*Token" type="hidden" value="[^"]*"|from=\d{14}&amp;fromFormatted=[^&"]*`),
	}
}

func TestMediaWiki(t *testing.T) {
	sw := mediaWiki(t)
	paths := []string{"/index.php/Main_Page", "/index.php/Special:AllPages", "/index.php?title=Special:UserLogin", "/index.php/Special:RecentChanges"}
	t.Run("its own name", func(t *testing.T) {
		s := sw.behind(t)
		s.crawl(150)
		useMediaWiki(s, newPerson(t, s.front), "knots")
		s.browse(paths...)
	})
	staging(t, sw, stagingSite{
		use:   useMediaWiki,
		login: "/index.php?title=Special:UserLogin&returnto=Main_Page", user: `#wpName1`, password: `#wpPassword1`,
		id: "Zoe", secret: "tarred-hemp-14mm", submit: `#wpLoginAttempt`, name: "Zoe",
		paths: paths,
		// The links that MediaWiki makes absolute, among them those of its print footer and of its messages. A site that
		// goes by X-Forwarded-Host has none under the other name.
		leaving: map[string][]string{"upstream": {"a", "link EditURI", "link alternate", "link self"}},
	})
}

// useMediaWiki logs in, writes a page, uploads a file and logs out.
func useMediaWiki(s *realSite, p *person, page string) {
	s.t.Helper()
	page = strings.ToUpper(page[:1]) + page[1:] // as it would be put anyway
	p.open(s.at("/index.php?title=Special:UserLogin&returnto=Main_Page"))
	p.submit("wpName", "wpName", "Zoe", "wpPassword", "tarred-hemp-14mm")
	p.isAt(s.at("/index.php/Main_Page"))
	p.sees(`"wgUserName":"Zoe"`)

	p.open(s.at("/index.php?title=" + page + "&action=edit"))
	text := "A <b>bowline</b> & “sheet bend”, 漢字\n" + strings.Repeat("Round turn and two half hitches.\n\n", 3000)
	p.submit("wpTextbox1", "wpTextbox1", text, "wpSave", "Save")
	p.isAt(s.at("/index.php/" + page))
	p.sees("A <b>bowline</b> &amp; “sheet bend”, 漢字")

	p.open(s.at("/index.php/Special:Upload"))
	content := append(picture(s.t), page...) // since it refuses a file that it has already
	p.upload("wpUploadFile", content, "wpDestFile", page+".jpg", "wpUploadDescription", "An anchor", "wpUpload", "Upload file")
	p.sees(page + ".jpg")
	if got := s.stored(page + ".jpg"); !bytes.Equal(got, content) {
		s.t.Errorf("the uploaded file was stored as %d other bytes", len(got))
	}

	p.open(s.at("/index.php/Special:AllPages"))
	p.sees(`"wgUserName":"Zoe"`)
	p.submit("search", "search", page) // which redirects to the page of that name
	p.isAt(s.at("/index.php/" + page))
	p.sees(`"wgUserName":"Zoe"`)
	p.open(s.at("/index.php/Special:UserLogout"))
	p.submit("wpEditToken")
	p.open(s.at("/index.php/Main_Page"))
	p.sees(`"wgUserName":null`)
}

// stored reads what MediaWiki has kept of an upload.
func (s *realSite) stored(name string) (content []byte) {
	s.t.Helper()
	err := filepath.WalkDir(s.files, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == name && !d.IsDir() {
			content, err = os.ReadFile(path)
		}
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return content
}
