package main

import (
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

func TestParseSize(t *testing.T) {
	tests := []struct {
		text string
		want int64 // -1: refused
	}{
		{"0", 0},
		{"17", 17},
		{"17B", 17},
		{"1KiB", 1024},
		{"64MiB", 64 << 20},
		{"1.5 GiB", 3 << 29},
		{"2TiB", 2 << 40},
		{"", -1},
		{"MiB", -1},
		{"-1", -1},
		{"1MB", -1},
		{"1e30GiB", -1},
		{"NaN", -1},
		{"ten", -1},
	}
	for _, tt := range tests {
		got, err := parseSize(tt.text)
		if err != nil {
			got = -1
		}
		if got != tt.want {
			t.Errorf("parseSize(%q) = %d, %v; want %d", tt.text, got, err, tt.want)
		}
	}
}

func config(t *testing.T, env map[string]string, args ...string) (*mountConfig, error) {
	t.Helper()
	fs := pflag.NewFlagSet("mount", pflag.ContinueOnError)
	declare(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return readConfig(fs, func(k string) (string, bool) { v, ok := env[k]; return v, ok }, fs.Args())
}

func TestFlagsGoOverEnvironment(t *testing.T) {
	env := map[string]string{"FERRY_TTL": "3s", "FERRY_UPLOAD_PARTS": "3", "AWS_ENDPOINT_URL": "http://a:1", "FERRY_READ_ONLY": "true"}
	c, err := config(t, env, "--upload-parts", "5", "photos/2026/", "/nowhere/mnt")
	if err != nil {
		t.Fatal(err)
	}
	if c.TTL.Seconds() != 3 || c.UploadParts != 5 || c.Endpoint != "http://a:1" || !c.ReadOnly || c.Bucket != "photos" || c.Prefix != "2026" {
		t.Errorf("config %+v", c)
	}
	env["FERRY_ENDPOINT"] = "http://b:1"
	if c, err = config(t, env, "photos", "/nowhere/mnt"); err != nil || c.Endpoint != "http://b:1" {
		t.Errorf("endpoint %q, %v; want FERRY_ENDPOINT over AWS_ENDPOINT_URL", c.Endpoint, err)
	}
}

func TestEveryFaultIsNamedAtOnce(t *testing.T) {
	_, err := config(t, map[string]string{"FERRY_MEMORY_MAX": "1KiB"}, "--ttl", "soon", "--upload-parts", "0", "--conflict", "mine",
		"--endpoint", "minio:9000", "--upload-rate", "fast", "x", "/mnt")
	if exitCode(err) != exitUsage {
		t.Fatalf("err = %v; want a fault of usage", err)
	}
	for _, word := range []string{"--ttl", "--upload-parts", "--conflict", "--endpoint", "--upload-rate", "FERRY_MEMORY_MAX", `"x" is no bucket name`} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q is not named in: %v", word, err)
		}
	}
}

func TestCredentialsInTheEndpointAreRefusedAndNotRepeated(t *testing.T) {
	_, err := config(t, nil, "--endpoint", "http://admin:hunter2@minio:9000", "photos", "/mnt")
	if exitCode(err) != exitUsage || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("err = %v", err)
	}
}

func TestDefaultNamesDifferAndStay(t *testing.T) {
	name := func(bucket, mnt string) string {
		c, err := config(t, nil, bucket, mnt)
		if err != nil {
			t.Fatal(err)
		}
		if !nameForm.MatchString(c.Name) {
			t.Errorf("%q is no name", c.Name)
		}
		return c.Name
	}
	a := name("photos/2026", "/mnt/a")
	if a != name("photos/2026/", "/mnt/a") || a == name("photos/2026", "/mnt/b") || a == name("photos-2026", "/mnt/a") {
		t.Errorf("name %q is not as unique as its mount", a)
	}
	name("photos/"+strings.Repeat("ü", 100)+"/"+strings.Repeat("ä", 100), "/mnt/a")
}
