package s3remote

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/s3utils"

	"ferry"
)

// Credentials are who we are to the server. They are renewed where their source
// renews them. They have no String method on purpose.
type Credentials struct{ c *credentials.Credentials }

func (c *Credentials) provider() *credentials.Credentials {
	if c == nil {
		return credentials.NewStatic("", "", "", credentials.SignatureAnonymous)
	}
	return c.c
}

// Anonymous reports whether no source had any credentials.
func (c *Credentials) Anonymous() bool {
	v, err := c.provider().GetWithContext(nil)
	return err == nil && v.SignerType.IsAnonymous()
}

// StaticCredentials are given as they are.
func StaticCredentials(accessKey, secretKey, sessionToken string) *Credentials {
	return &Credentials{credentials.NewStaticV4(accessKey, secretKey, sessionToken)}
}

// CredentialSources says where to look for credentials.
type CredentialSources struct {
	Endpoint string // URL; picks the alias of ~/.mc/config.json
	// File has lines AWS_ACCESS_KEY_ID=… and AWS_SECRET_ACCESS_KEY=…, or is an INI
	// file like ~/.aws/credentials. If given, nothing else is looked at.
	File    string
	Profile string // of ~/.aws/credentials; "" is AWS_PROFILE or "default"
}

// FindCredentials returns the first of: the file; AWS_ACCESS_KEY_ID,
// AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN in the environment;
// ~/.aws/credentials; the alias of ~/.mc/config.json for the endpoint; the role
// of the machine or a web identity (only on Amazon, or where AWS_… variables
// name one: elsewhere the question itself would hang). Else they are anonymous.
// A file that was asked for and cannot be read is KindInvalid.
func FindCredentials(s CredentialSources) (*Credentials, error) {
	if s.File != "" {
		return fileCredentials(s.File, s.Profile)
	}
	providers := []credentials.Provider{
		&credentials.EnvAWS{},
		&credentials.FileAWSCredentials{Profile: s.Profile},
	}
	if v, ok := mcAlias(s.Endpoint); ok {
		providers = append(providers, &credentials.Static{Value: v})
	}
	u, err := url.Parse(s.Endpoint)
	amazon := err == nil && s3utils.IsAmazonEndpoint(*u)
	for _, name := range [...]string{"AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"} {
		amazon = amazon || os.Getenv(name) != ""
	}
	if amazon {
		providers = append(providers, &credentials.IAM{})
	}
	return &Credentials{credentials.NewChainCredentials(providers)}, nil
}

func fileCredentials(path, profile string) (*Credentials, error) {
	invalid := func(msg string, err error) error {
		return &ferry.Error{
			Op: "s3remote.credentials", Key: path, Kind: ferry.KindInvalid, Msg: msg, Err: err,
			Hint: "it needs the lines AWS_ACCESS_KEY_ID=… and AWS_SECRET_ACCESS_KEY=…",
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, invalid("the file with the credentials cannot be read", err)
	}
	vars := map[string]string{}
	for line := range strings.Lines(string(b)) {
		line = strings.TrimPrefix(strings.TrimSpace(line), "export ")
		if k, v, ok := strings.Cut(line, "="); ok && !strings.HasPrefix(line, "#") {
			vars[strings.ToUpper(strings.TrimSpace(k))] = strings.Trim(strings.TrimSpace(v), `"'`)
		}
	}
	if id, secret := vars["AWS_ACCESS_KEY_ID"], vars["AWS_SECRET_ACCESS_KEY"]; id != "" && secret != "" && !strings.Contains(string(b), "[") {
		return StaticCredentials(id, secret, vars["AWS_SESSION_TOKEN"]), nil
	}
	c := credentials.NewFileAWSCredentials(path, profile)
	if v, err := c.GetWithContext(nil); err != nil || v.AccessKeyID == "" {
		return nil, invalid("there are no credentials in the file", nil) // the cause might quote a line
	}
	return &Credentials{c}, nil
}

// mcAlias looks for the endpoint among the aliases of MinIO's client.
func mcAlias(endpoint string) (credentials.Value, bool) {
	home, err := os.UserHomeDir()
	if err != nil || endpoint == "" {
		return credentials.Value{}, false
	}
	b, err := os.ReadFile(filepath.Join(home, ".mc", "config.json"))
	if err != nil {
		return credentials.Value{}, false
	}
	type alias struct {
		URL          string `json:"url"`
		AccessKey    string `json:"accessKey"`
		SecretKey    string `json:"secretKey"`
		SessionToken string `json:"sessionToken"`
	}
	var config struct {
		Aliases map[string]alias `json:"aliases"`
		Hosts   map[string]alias `json:"hosts"` // until 2020
	}
	if json.Unmarshal(b, &config) != nil {
		return credentials.Value{}, false
	}
	for _, m := range []map[string]alias{config.Aliases, config.Hosts} {
		for _, a := range m {
			if sameServer(a.URL, endpoint) && a.AccessKey != "" {
				return credentials.Value{
					AccessKeyID: a.AccessKey, SecretAccessKey: a.SecretKey, SessionToken: a.SessionToken,
					SignerType: credentials.SignatureV4,
				}, true
			}
		}
	}
	return credentials.Value{}, false
}

func sameServer(a, b string) bool {
	ua, err1 := url.Parse(a)
	ub, err2 := url.Parse(b)
	return err1 == nil && err2 == nil && ua.Scheme == ub.Scheme && strings.EqualFold(ua.Host, ub.Host)
}

// GoString keeps secrets out of %#v.
func (c *Credentials) GoString() string { return "s3remote.Credentials{…}" }

// Format keeps secrets out of every other verb.
func (c *Credentials) Format(f fmt.State, _ rune) { fmt.Fprint(f, "credentials") }
