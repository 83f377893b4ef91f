namespace PostCopy.Tests.Images;

/// <summary>A copy of an image directory to do damage to.</summary>
internal sealed class ImageCopy : IDisposable
{
    public ImageCopy(string original)
    {
        foreach (string file in Directory.GetFiles(original, "*.img"))
            File.Copy(file, System.IO.Path.Join(Path, System.IO.Path.GetFileName(file)));
    }

    public string Path { get; } = Directory.CreateTempSubdirectory("postcopy-images-test-").FullName;

    public void Dispose() => Directory.Delete(Path, recursive: true);
}
