package s3remote

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ferry"
)

// TestFindCredentials: the sources count in their documented order.
func TestFindCredentials(t *testing.T) {
	home := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(home, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	t.Setenv("HOME", home)
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"} {
		t.Setenv(name, "")
		os.Unsetenv(name)
	}
	const endpoint = "http://localhost:9000"
	is := func(what string, s CredentialSources, access, secret string) {
		t.Helper()
		c, err := FindCredentials(s)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			return
		}
		v, err := c.c.GetWithContext(nil)
		if err != nil || v.AccessKeyID != access || v.SecretAccessKey != secret {
			t.Errorf("%s: got key %q, %v; want %q", what, v.AccessKeyID, err, access)
		}
		if c.Anonymous() != (access == "") {
			t.Errorf("%s: Anonymous is %v", what, c.Anonymous())
		}
		for _, f := range []string{"%v", "%+v", "%#v", "%s", "%d"} {
			if text := fmt.Sprintf(f, c); secret != "" && strings.Contains(text, secret) {
				t.Errorf("%s: printed with %s it tells the secret", what, f)
			}
		}
	}
	is("nothing", CredentialSources{Endpoint: endpoint}, "", "")

	write(".mc/config.json", `{"version":"10","aliases":{"other":{"url":"http://other:9000","accessKey":"no","secretKey":"no"},"local":{"url":"http://LOCALHOST:9000/","accessKey":"mc-key","secretKey":"mc-secret"}}}`)
	is("mc alias", CredentialSources{Endpoint: endpoint}, "mc-key", "mc-secret")
	is("mc alias of no such server", CredentialSources{Endpoint: "http://elsewhere:9000"}, "", "")

	write(".aws/credentials", "[default]\naws_access_key_id = aws-key\naws_secret_access_key = aws-secret\n[second]\naws_access_key_id = second-key\naws_secret_access_key = second-secret\n")
	is("aws file", CredentialSources{Endpoint: endpoint}, "aws-key", "aws-secret")
	is("aws file, profile", CredentialSources{Endpoint: endpoint, Profile: "second"}, "second-key", "second-secret")

	t.Setenv("AWS_ACCESS_KEY_ID", "env-key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "env-secret")
	is("environment", CredentialSources{Endpoint: endpoint}, "env-key", "env-secret")

	file := write("keys", "# the store's\nexport AWS_ACCESS_KEY_ID=file-key\nAWS_SECRET_ACCESS_KEY=\"file-secret\"\n")
	is("file", CredentialSources{Endpoint: endpoint, File: file}, "file-key", "file-secret")
	is("file in INI form", CredentialSources{File: filepath.Join(home, ".aws/credentials")}, "aws-key", "aws-secret")

	for what, path := range map[string]string{"absent": filepath.Join(home, "absent"), "empty": write("empty", ""), "nonsense": write("nonsense", "AWS_SECRET_ACCESS_KEY=hush\n")} {
		_, err := FindCredentials(CredentialSources{File: path})
		if !ferry.IsKind(err, ferry.KindInvalid) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s file: %v", what, err)
		}
	}
}
