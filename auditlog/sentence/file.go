package sentence

import "strings"

var filePhrases = map[string]phrase{
	"FileAccessed":                     withFile("opened"),
	"FileAccessedExtended":             withFile("went on using"),
	"FilePreviewed":                    withFile("previewed"),
	"FileDownloaded":                   withFile("downloaded"),
	"FileSyncDownloadedFull":           withFile("synced a copy of"),
	"FileSyncDownloadedPartial":        withFile("synced a part of"),
	"FileSyncUploadedFull":             withFile("uploaded by sync"),
	"FileUploaded":                     withFile("uploaded"),
	"FileModified":                     withFile("changed"),
	"FileModifiedExtended":             withFile("went on changing"),
	"FileCopied":                       withFile("copied"),
	"FileMoved":                        withFile("moved"),
	"FileRenamed":                      withFile("renamed"),
	"FileDeleted":                      withFile("deleted"),
	"FileRecycled":                     withFile("moved to the recycle bin"),
	"FileDeletedFirstStageRecycleBin":  withFile("deleted from the recycle bin"),
	"FileDeletedSecondStageRecycleBin": withFile("deleted for good"),
	"FileRestored":                     withFile("restored"),
	"FileCheckedOut":                   withFile("checked out"),
	"FileMalwareDetected":              withFile("had malware found in"),
	"FolderCreated":                    withFile("created"),
	"FolderDeleted":                    withFile("deleted"),
	"FolderRecycled":                   withFile("moved to the recycle bin"),
	"PageViewed":                       about("viewed the page", func(e event) string { return e.text("ObjectId", "SiteUrl") }),
	"PageViewedExtended":               about("went on viewing the page", func(e event) string { return e.text("ObjectId", "SiteUrl") }),
	"Access":                           opened,

	"SearchQueryInitiatedSharePoint": searchedSites,
	"SearchQueryPerformed":           searchedSites,
	"CopilotInteraction":             asked,
}

// withFile is a phrase about a file or folder. The last words of did that tell
// where it went come after its name.
func withFile(did string) phrase {
	verb, to := did, ""
	for _, lead := range []string{" to the recycle bin", " from the recycle bin", " for good", " by sync"} {
		if before, ok := strings.CutSuffix(did, lead); ok {
			verb, to = before, strings.TrimPrefix(lead, " ")
		}
	}
	return func(e event) string {
		said := spaced(verb, "the "+e.itemType(), quote(e.file()), e.place(), to)
		if dest := e.text("DestinationFileName"); dest != "" && dest != e.file() {
			said += ", now " + quote(dest)
		}
		if dest := e.text("DestinationRelativeUrl"); dest != "" {
			said += ", to " + quote(dest)
		}
		if strings.EqualFold(e.text("IsManagedDevice"), "false") && strings.Contains(e.text("Operation"), "Download") {
			said += ", to a device that is not managed"
		}
		if agent := e.text("UserAgent"); agent != "" && strings.Contains(strings.ToLower(agent), "powershell") {
			said += ", by the program " + quote(agent)
		}
		return said
	}
}

func (e event) itemType() string {
	switch e.text("ItemType") {
	case "Folder":
		return "folder"
	case "Web", "Site":
		return "site"
	case "List", "DocumentLibrary":
		return "list"
	case "Page":
		return "page"
	}
	if strings.HasPrefix(e.text("Operation"), "Folder") {
		return "folder"
	}
	return "file"
}

// file is the name of the file, else its URL.
func (e event) file() string {
	return e.text("SourceFileName", "ObjectId", "SiteUrl")
}

// place is "in 'Shared Documents' of https://contoso.sharepoint.com/sites/hr",
// or "".
func (e event) place() string {
	said := ""
	folder := strings.TrimSuffix(strings.TrimSuffix(e.text("SourceRelativeUrl"), e.text("SourceFileName")), "/")
	if folder != "" {
		said = "in " + quote(folder)
	}
	if site := strings.TrimSuffix(e.text("SiteUrl"), "/"); site != "" {
		said = spaced(said, "of "+name(site))
	}
	return said
}

func searchedSites(e event) string {
	said := "searched sites and files for " + quote(e.text("QueryText", "SearchQueryText"))
	if source := e.text("QuerySource"); source != "" {
		said += " in " + name(source)
	}
	return said
}

// opened is a file with a sensitivity label, on a computer.
func opened(e event) string {
	said := "opened the labelled file " + quote(e.file())
	if program := e.text("Common.ApplicationName"); program != "" {
		said += " with " + quote(program)
	}
	if device := e.text("Common.DeviceName"); device != "" {
		said += " on " + name(device)
	}
	return said
}

// asked is a turn with Copilot.
func asked(e event) string {
	said := "used Copilot"
	if host := e.text("CopilotEventData.AppHost"); host != "" {
		said += " in " + name(host)
	}
	if read := e.list("CopilotEventData.AccessedResources.Name"); len(read) > 0 {
		said += ", which read " + join(apply(read, quote), "and")
	}
	return said
}
