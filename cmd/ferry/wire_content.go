package main

import (
	"ferry"
	"ferry/fusefs/content"
	"ferry/journal/staging"
)

// contentStaging is journal/staging as fusefs/content wants it.
type contentStaging struct{ *staging.Store }

func (s contentStaging) Open(g ferry.Generation) (content.StagingFile, error) {
	f, err := s.Store.Open(g)
	if err != nil {
		return nil, err
	}
	return contentFile{f}, nil
}

type contentFile struct{ *staging.File }

func (f contentFile) Label(l content.Label) error {
	return f.File.Label(staging.Label{
		Inode: l.Inode, Path: l.Path, Attr: l.Attr, Size: l.Size, Sealed: l.Sealed,
		Base: l.Base, BaseLimit: l.BaseLimit, Extents: l.Extents, Complete: true,
	})
}
