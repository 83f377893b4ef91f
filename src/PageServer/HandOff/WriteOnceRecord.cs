namespace PostCopy.HandOff;

/// <summary>
/// A word that can be written once: a symbolic link whose target is the word. symlink(2) creates name and content in one step and fails with
/// EEXIST when the name is taken, so there is no half-written record and no second writer, whoever dies when. A shell can read and write it too.
/// </summary>
internal sealed class WriteOnceRecord(string path)
{
    /// <summary>Where the record is.</summary>
    internal string Path { get; } = path;

    /// <summary>Writes <paramref name="word"/> unless something is written already, and returns what is.</summary>
    internal string Write(string word)
    {
        try
        {
            File.CreateSymbolicLink(Path, word);
            return word;
        }
        catch (IOException) when (Read() is not null)
        {
            return Read()!;
        }
    }

    /// <summary>
    /// What was written; null when nothing was. Not being able to look is an error, never "nothing": who may run is decided by the difference.
    /// </summary>
    internal string? Read()
    {
        try
        {
            return File.ResolveLinkTarget(Path, returnFinalTarget: false) is { } target
                ? target.Name
                : throw new IOException($"{Path} is not a record: it is not a symbolic link");
        }
        catch (FileNotFoundException)
        {
            return null;
        }
    }
}
